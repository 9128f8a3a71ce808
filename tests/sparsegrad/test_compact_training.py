"""A compact model under torch's optimizers: the dense formula's trajectory, in each execution, from k-sized tensors."""

import copy

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from sparsegrad import SparseGradOptimizer, calibrate, convert
from sparsegrad.compact import COMPACT_EXECUTIONS, CompactLinear
from sparsegrad.plan import core_is_cheaper_written
from tests.sparsegrad.compact_case import EXECUTIONS
from tests.sparsegrad.compact_formula import COLS, KEPT, ROWS, SIDE, inputs, loss_of, pair_maker


@pytest.fixture
def pair(rotation):
    """pair(execution): a square layer and the dense formula with the same values."""
    return pair_maker(rotation)


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.03, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.03, weight_decay=0.1),
    "adamw-foreach": lambda p: torch.optim.AdamW(p, lr=0.03, foreach=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.5, max_iter=3),
    "sparsegrad": lambda p: SparseGradOptimizer(p, lr=0.03),
}


@EXECUTIONS
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_walks_the_dense_formulas_way(pair, execution, name):
    layer, dense = pair(execution)
    first = layer.values.detach().clone()
    twin = OPTIMIZERS["adamw" if name == "sparsegrad" else name]
    for optimizer, model in ((OPTIMIZERS[name]([layer.values]), layer), (twin([dense.values]), dense)):
        if name == "sparsegrad":
            optimizer.param_groups[0]["weight_decay"] = 0.1
        torch.manual_seed(3)
        for x in inputs(10):

            def closure(optimizer=optimizer, model=model, x=x):
                optimizer.zero_grad()
                loss = loss_of(model, x)
                loss.backward()
                return loss

            optimizer.step(closure)
    assert (layer.values - first).abs().max() > 1e-2
    torch.testing.assert_close(layer.values, dense.values, rtol=1e-9, atol=1e-12)


@EXECUTIONS
def test_gradient_and_adamw_state_are_12_bytes_a_value_and_four(bert, execution):
    model = bert.model()
    bases = calibrate(model, bert.batches(2), 2, kept=0.1)
    model.requires_grad_(False)
    convert(model, bases, kept=0.1, support="fixed", execution=execution)
    trained = [p for p in model.parameters() if p.requires_grad]
    layers = [m for m in model.modules() if isinstance(m, CompactLinear)]
    assert len(trained) == len(layers) == 8
    optimizer = torch.optim.AdamW(trained)
    model(**bert.batch()).loss.backward()
    optimizer.step()
    total = sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    total += sum(t.nbytes for state in optimizer.state.values() for t in state.values() if isinstance(t, torch.Tensor))
    assert total == sum(12 * 64 + 4 for _ in layers)


@pytest.mark.parametrize(
    ("basis", "dtype", "rtol"), [("shared", torch.float64, 1e-9), ("per-block", torch.float32, 1e-4)]
)
def test_executions_agree_over_fifty_steps(architectures, basis, dtype, rtol):
    """Losses, values and weights; planned on batches large enough to write and small enough to add."""
    arch = architectures["llama"]
    start = arch.model(dtype=dtype)
    bases = calibrate(start, arch.batches(2), 2, basis=basis, kept=60, core=(8, 10))
    batches = [arch.batch(seed, size=1 + 11 * (seed % 2)) for seed in range(6)]
    told = {}
    for execution in COMPACT_EXECUTIONS:
        model = convert(
            copy.deepcopy(start), bases, kept=60, core=(8, 10), support="fixed", execution=execution
        ).train()
        layers = {n: m for n, m in model.named_modules() if isinstance(m, CompactLinear)}
        trained = [layer.values for layer in layers.values()] + [model.get_parameter("lm_head.weight")]
        optimizer, losses = torch.optim.AdamW(trained, lr=1e-2), []
        for step in range(50):
            optimizer.zero_grad()
            loss = model(**batches[step % 6]).loss
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        told[execution] = losses, {n: layer.values.detach() for n, layer in layers.items()}
        for name in layers:
            weight = start.get_parameter(f"{name}.weight")
            torch.testing.assert_close(model.state_dict()[f"{name}.weight"], weight, rtol=1e-5, atol=1e-5)
    losses, values = told["additive"]
    assert losses[49] < 0.9 * losses[1]
    for execution in ("merged", "planned"):
        assert told[execution][0] == pytest.approx(losses, rel=rtol)
        for name, reached in told[execution][1].items():
            assert (reached - values[name]).norm() <= rtol * values[name].norm(), (execution, name)


@pytest.mark.parametrize("tokens", [2, 2000])
def test_planned_writes_where_the_plan_says_it_pays(pair, tokens):
    layer, _ = pair("planned")
    before = layer.weight.detach().clone()
    layer.values.data.normal_()
    layer(torch.randn(tokens, SIDE, dtype=torch.float64))
    written = core_is_cheaper_written(tokens=tokens, inner=SIDE, out=SIDE, rows=ROWS, cols=COLS)
    assert written == (tokens == 2000) and torch.equal(layer.weight, before) == (not written)


@EXECUTIONS
def test_gradients_accumulate_in_k_entries(pair, execution):
    layer, _ = pair(execution)
    x = inputs(1)[0]
    loss_of(layer, x).backward()
    whole = layer.values.grad.clone()
    layer.zero_grad()
    for part in x.chunk(3):
        (loss_of(layer, part) / 3).backward()
    torch.testing.assert_close(layer.values.grad, whole, rtol=1e-9, atol=1e-12)
    assert layer.values.grad.shape == (KEPT,)
    assert [n for n, p in layer.named_parameters() if p.grad is not None] == ["values"]


@EXECUTIONS
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_and_used_twice_it_sums_both_uses(pair, execution, reentrant):
    layer, dense = pair(execution)
    layer.values.data.normal_()
    dense.values.data.copy_(layer.values)
    x = inputs(1)[0].requires_grad_()
    loss = checkpoint(lambda x: layer(torch.tanh(layer(x))), x, use_reentrant=reentrant).square().sum()
    loss.backward()
    dx, x.grad = x.grad, None
    dense(torch.tanh(dense(x))).square().sum().backward()
    torch.testing.assert_close(layer.values.grad, dense.values.grad, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(dx, x.grad, rtol=1e-9, atol=1e-10)
