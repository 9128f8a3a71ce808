"""The k entries of a step are those of its summed gradient: micro-batches select as one large batch does."""

import pytest
import torch
from torch import nn

from sparsegrad import SparseGradError, SparseGradLinear, SparseGradOptimizer
from sparsegrad.executions import EXECUTIONS
from sparsegrad.support import top_k

INNER, OUT, KEPT = 6, 9, 5


@pytest.fixture
def layer(rotation):
    def make(**options):
        linear = nn.Linear(INNER, OUT, dtype=torch.float64)
        return SparseGradLinear.from_linear(linear, rotation(INNER, OUT), kept=KEPT, **options)

    return make


def parts(count, seed=0):
    chance = torch.Generator().manual_seed(seed)
    return [tuple(torch.randn(4, n, generator=chance, dtype=torch.float64) for n in (INNER, OUT)) for _ in range(count)]


def dense(layer, pieces):
    """V (sum g^T x) U^T from the formula."""
    return torch.stack([layer.rotation.v @ g.T @ x @ layer.rotation.u.T for x, g in pieces]).sum(0)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("execution", list(EXECUTIONS))
@pytest.mark.parametrize("set_to_none", [True, False])
def test_micro_batches_select_as_one_large_batch(layer, count, execution, set_to_none):
    made = layer(execution=execution)
    for step in range(3):  # what one step dropped must not reach the next
        pieces = parts(count, seed=step)
        for x, g in pieces:
            made(x).backward(g)
            assert made.weight.grad.is_coalesced() and made.weight.grad._nnz() == KEPT
        total = dense(made, pieces)
        torch.testing.assert_close(made.weight.grad.to_dense(), top_k(total, KEPT).to_dense(), rtol=0, atol=1e-12)
        # The law has teeth: summing what each micro-batch would keep alone is something else.
        alone = torch.stack([top_k(dense(made, [piece]), KEPT).to_dense() for piece in pieces]).sum(0)
        assert not torch.allclose(made.weight.grad.to_dense(), top_k(alone, KEPT).to_dense())
        made.zero_grad(set_to_none=set_to_none)


def test_a_step_without_zero_grad_goes_on_summing(layer):
    made, pieces = layer(), parts(2)
    optimizer = SparseGradOptimizer(made.parameters(), lr=1e-3)
    for x, g in pieces:
        made(x).backward(g)
        optimizer.step()
    wanted = top_k(dense(made, pieces), KEPT).to_dense()
    torch.testing.assert_close(made.weight.grad.to_dense(), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("set_to_none", [True, False])
def test_without_accumulation_a_second_backward_is_an_error_and_names_the_layer(layer, set_to_none):
    made = layer(accumulate=False, name="block.3.up")
    (x, g), *_ = parts(1)
    made(x).backward(g)
    with pytest.raises(SparseGradError, match=r"block\.3\.up: a second backward.*accumulate=True"):
        made(x).backward(g)
    made.zero_grad(set_to_none=set_to_none)
    made(x).backward(g)
    torch.testing.assert_close(made.weight.grad.to_dense(), top_k(dense(made, [(x, g)]), KEPT).to_dense())


def test_the_buffer_is_one_dense_copy_and_goes_with_the_gradient(layer):
    for accumulate in (True, False):
        made = layer(accumulate=accumulate)
        (x, g), *_ = parts(1)
        made(x).backward(g)
        dropped = getattr(made.weight.grad, "dropped", None)
        assert (dropped is not None) == accumulate
        if accumulate:
            whole = made.weight.grad.to_dense() + dropped
            torch.testing.assert_close(whole, dense(made, [(x, g)]), rtol=0, atol=1e-12)
        made.zero_grad()
        assert made.weight.grad is None


def test_a_whole_model_accumulates_as_one_batch(arch, converted):
    """Through a real forward: mean losses of halves, weighted, sum to the loss of the whole."""
    model = converted(arch, kept=0.05, accumulate=True)
    batch = arch.batch(size=6)
    rows = [{k: v[at : at + 2] for k, v in batch.items()} for at in (0, 2, 4)]

    def labels(part):  # tokens that carry loss, as the model's own mean counts them
        told = part["labels"] if arch.task != "causal" else part["labels"][:, 1:]
        return (told != -100).sum().item()

    model(**batch).loss.backward()
    whole = {n: p.grad.to_dense() for n, p in model.named_parameters() if p.grad is not None and p.grad.is_sparse}
    model.zero_grad()
    for part in rows:
        (model(**part).loss * labels(part) / labels(batch)).backward()
    assert len(whole) == 4 * len(arch.roles)
    for name, p in model.named_parameters():
        if name in whole:
            scale = whole[name].abs().max().item()
            torch.testing.assert_close(p.grad.to_dense(), whole[name], rtol=0, atol=1e-9 * scale)


@pytest.mark.parametrize("reentrant", [True, False])
def test_hugging_face_gradient_checkpointing_changes_nothing(arch, converted, reentrant):
    model = converted(arch, kept=0.05).train()
    batch = arch.batch()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    model(**batch).loss.backward()
    plain = {name: p.grad.to_dense() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    if reentrant:
        model.enable_input_require_grads()
    model(**batch).loss.backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == set(plain)
    for name, p in model.named_parameters():
        if name in plain:
            torch.testing.assert_close(p.grad.to_dense(), plain[name], rtol=0, atol=1e-12)
