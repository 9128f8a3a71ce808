"""convert and revert: the same function before, between and after, on every architecture; an error changes nothing."""

import copy
import re

import pytest
import torch
from torch import nn

from sparsegrad import (
    Bases,
    BasesMismatch,
    SparseGradError,
    SparseGradLinear,
    SparseGradOptimizer,
    calibrate,
    convert,
    revert,
)
from sparsegrad.executions import EXECUTIONS
from tests.sparsegrad.untouched import assert_untouched, shape_of_things


def layers_of(model):
    return {name: m for name, m in model.named_modules() if isinstance(m, SparseGradLinear)}


def logits(model, batch):
    with torch.no_grad():
        return model(**batch).logits


@pytest.mark.parametrize("basis", ["shared", "per-block", "none"])
def test_outputs_are_equal_before_between_and_after(arch, basis):
    model, batch = arch.model(dtype=torch.float64), arch.batch()
    before, classes = logits(model, batch), {name: type(m) for name, m in model.named_modules()}
    names = {name: p.requires_grad for name, p in model.named_parameters()}
    bases = calibrate(model, arch.batches(2), 2, basis=basis)
    assert convert(model, bases, kept=0.05) is model
    assert set(layers_of(model)) == set(bases.layers) and len(bases.layers) == 4 * len(arch.roles)
    assert {name: p.requires_grad for name, p in model.named_parameters()} == names  # freezes nothing
    torch.testing.assert_close(logits(model, batch), before, rtol=0, atol=1e-10)
    assert revert(model) is model
    assert {name: type(m) for name, m in model.named_modules()} == classes
    assert {name: p.requires_grad for name, p in model.named_parameters()} == names
    torch.testing.assert_close(logits(model, batch), before, rtol=0, atol=1e-10)


def test_in_fp32_outputs_are_equal_to_1e_5(arch):
    model, batch = arch.model(), arch.batch()
    before = logits(model, batch)
    changed = convert(model, calibrate(model, arch.batches(2), 2), kept=0.05)
    torch.testing.assert_close(logits(changed, batch), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("other_way", sorted(EXECUTIONS.keys() - {"regular"}))
def test_every_execution_gives_the_same_numbers_on_padded_batches(arch, other_way):
    """Loss, every gradient, and g with rows that are exactly zero, which all but regular leave out."""
    plain, batch = arch.model(dtype=torch.float64), arch.batch(size=5)
    bases = calibrate(plain, arch.batches(2), 2)
    seen, zero_rows = {}, []
    for execution in (other_way, "regular"):
        model = convert(copy.deepcopy(plain), bases, kept=0.05, execution=execution)
        for layer in layers_of(model).values():
            layer.register_full_backward_pre_hook(lambda _m, g: zero_rows.append((g[0] == 0).all(dim=-1).any().item()))
        loss = model(**batch).loss
        loss.backward()
        seen[execution] = loss.item(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert any(zero_rows)
    (loss, found), (same, regular) = seen[other_way], seen["regular"]
    assert loss == pytest.approx(same, rel=1e-12) and set(found) == set(regular)
    for name, grad in found.items():
        other = regular[name]
        assert grad.is_sparse == other.is_sparse == (name.removesuffix(".weight") in bases.layers)
        if grad.is_sparse:
            assert grad._nnz() == other._nnz() == round(0.05 * grad.numel())
            assert torch.equal(grad.indices(), other.indices())
            grad, other = grad.values(), other.values()
        torch.testing.assert_close(grad, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("sides", ["both", "in", "out"])
def test_every_execution_trains_alike(architectures, dtype, rtol, sides):
    """Fifty steps of SparseGradOptimizer: losses, and the plain weights at the end."""
    family = architectures["bert"]
    plain, batches = family.model(dtype=dtype), family.batches(5)
    bases = calibrate(plain, batches, 5, sides=sides)
    losses: dict[str, list[float]] = {}
    weights: dict[str, dict[str, torch.Tensor]] = {}
    for execution in EXECUTIONS:
        model = convert(copy.deepcopy(plain), bases, kept=0.05, execution=execution)  # type: ignore[arg-type]
        optimizer = SparseGradOptimizer(model.parameters(), lr=1e-3)
        losses[execution] = []
        for step in range(50):
            loss = model(**batches[step % 5]).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses[execution].append(loss.item())
        weights[execution] = {n: p.detach() for n, p in revert(model).named_parameters()}
    assert losses["regular"][-1] < 0.9 * losses["regular"][0]
    for execution in EXECUTIONS:
        assert losses[execution] == pytest.approx(losses["regular"], rel=rtol)
        # The converted linears: elsewhere Adam walks on rounding where a gradient is zero (the key's bias).
        for name in [f"{layer}.weight" for layer in bases.layers]:
            weight = weights[execution][name]
            gap = (weight - weights["regular"][name]).norm() / weights["regular"][name].norm().clamp(min=1e-3)
            assert gap <= rtol, name


def test_layers_share_one_pair_through_to_and_deepcopy(converted):
    model = converted()
    for changed in (model, model.to(torch.float32), copy.deepcopy(model), model.to(torch.bfloat16)):
        pairs: dict[str, set[int]] = {}
        for name, layer in layers_of(changed).items():
            pairs.setdefault(re.sub(r".*\.\d+\.", "", name), set()).add(id(layer.rotation.u))
            assert layer.rotation.u.dtype == layer.weight.dtype
        assert [len(pair) for pair in pairs.values()] == [1, 1]


def test_two_models_with_different_bases_do_not_meet(bert):
    """Each gives what it gives alone."""

    def made():
        for sides in ("both", "in"):
            model = bert.model(dtype=torch.float64)
            yield convert(model, calibrate(model, bert.batches(2), 2, sides=sides), kept=10)

    alone = list(made())
    for model in alone:
        model(**bert.batch()).loss.backward()
    both = list(made())
    losses = [model(**bert.batch()).loss for model in both]
    for loss in losses:
        loss.backward()
    grads = []
    for model, single in zip(both, alone, strict=True):
        for p, q in zip(model.parameters(), single.parameters(), strict=True):
            assert p.grad is None or torch.equal(p.grad.to_dense(), q.grad.to_dense())
        grads.append(next(m.weight.grad.to_dense() for m in layers_of(model).values()))
    assert not torch.allclose(*grads)
    with pytest.raises(BasesMismatch, match="other bases"):
        both[0].load_state_dict(both[1].state_dict())


def test_every_and_targets_convert_part_of_what_the_bases_name(bert):
    model = bert.model()
    bases = calibrate(model, bert.batches(2), 2)
    assert len(layers_of(convert(copy.deepcopy(model), bases, every=3))) == 4
    some = layers_of(convert(copy.deepcopy(model), bases, targets=r"layer\.2\.output\.dense$", kept=3))
    assert list(some) == ["bert.encoder.layer.2.output.dense"]
    with pytest.raises(BasesMismatch, match=r"no basis for .*attention\.self\.query"):
        convert(model, bases, targets="query")


def test_one_of_two_stacks_is_converted_in_its_own_bases():
    """BART's encoder and decoder share names: the role must not depend on which part is asked for."""
    from transformers import BartConfig, BartForConditionalGeneration

    config = BartConfig(vocab_size=40, d_model=8, max_position_embeddings=32, use_cache=False)
    for side in ("encoder", "decoder"):
        for what, size in (("layers", 2), ("ffn_dim", 24), ("attention_heads", 2)):
            setattr(config, f"{side}_{what}", size)
    model = BartForConditionalGeneration(config).double().eval()
    ids = torch.randint(4, 40, (2, 6))
    bases = calibrate(model, [{"input_ids": ids, "labels": ids}], 1)
    assert len(bases.table) == 4
    before = logits(model, {"input_ids": ids, "labels": ids})
    convert(model, bases, targets=r"decoder.*fc")
    assert len(layers_of(model)) == 4
    torch.testing.assert_close(logits(model, {"input_ids": ids, "labels": ids}), before, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kept", [640, 1.0])
def test_every_entry_kept_is_dense_training(bert, converted, kept):
    model = converted(kept=kept)
    model(**bert.batch()).loss.backward()
    assert not any(layer.weight.grad.is_sparse for layer in layers_of(model).values())


@pytest.mark.parametrize(
    "options",
    [{"kept": k} for k in (641, True, 0, 0.0, 1.5, -1, None)]
    + [{"support": "fixed"}, {"support": "static"}, {"core": (4, 4)}]  # no energies here; a core is a fixed support's
    + [{"execution": execution} for execution in ("fast", "merged")]
    + [{"targets": "nothing"}, {"targets": "("}, {"every": 0}],
    ids=str,
)
def test_a_bad_request_leaves_the_model_untouched(bert, options):
    model = bert.model()
    bases = calibrate(model, bert.batches(2), 2)
    before = shape_of_things(model)
    with pytest.raises(SparseGradError):
        convert(model, bases, **options)
    assert_untouched(model, before)


def test_bases_that_do_not_fit_leave_the_model_untouched(bert, architectures):
    bases = calibrate(bert.model(), bert.batches(2), 2)

    def trained():
        model = bert.model()
        with torch.no_grad():
            model.bert.encoder.layer[3].output.dense.weight.add_(1)
        return model

    def replaced(module):
        model = bert.model()
        model.bert.encoder.layer[1].intermediate.dense = module
        return model

    def quantised():
        model = bert.model()
        linear = model.bert.encoder.layer[1].intermediate.dense
        linear.weight = nn.Parameter((linear.weight * 100).to(torch.int8), requires_grad=False)
        return model

    for other in (
        trained(),
        bert.model(seed=1),
        architectures["gpt2"].model(),
        quantised(),
        replaced(nn.Linear(16, 41)),
        replaced(nn.LayerNorm(16)),
        replaced(nn.Sequential(nn.Linear(16, 40))),
    ):
        before = shape_of_things(other)
        with pytest.raises(SparseGradError):
            convert(other, bases)
        assert_untouched(other, before)


def test_converting_twice_is_told(bert, converted):
    model = converted()
    before = shape_of_things(model)
    with pytest.raises(SparseGradError, match="converted already: revert"):
        convert(model, Bases.none(bert.model(dtype=torch.float64)))
    assert_untouched(model, before)
    revert(model)
    convert(model, calibrate(model, bert.batches(2), 2))


def test_flags_and_mode_go_over_and_back(bert):
    model = bert.model().train()
    first, second = model.bert.encoder.layer[0].intermediate.dense, model.bert.encoder.layer[1].output.dense
    first.weight.requires_grad_(False)
    second.bias.requires_grad_(False)
    second.eval()
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    modes = {name: m.training for name, m in model.named_modules()}
    bases = calibrate(model, bert.batches(2), 2)
    for change in (lambda: convert(model, bases), lambda: revert(model)):
        change()
        assert {name: p.requires_grad for name, p in model.named_parameters()} == flags
        assert {n: m.training for n, m in model.named_modules() if "rotation" not in n} == modes


def test_reverting_draws_nothing_and_shares_nothing(architectures, converted):
    model = converted(architectures["gpt2"])
    layers, chance = layers_of(model), torch.get_rng_state()
    revert(model)
    assert torch.equal(torch.get_rng_state(), chance)
    plain = revert(convert(model, Bases.none(model)))
    assert not {p.data_ptr() for layer in layers.values() for p in layer.parameters()} & {
        p.data_ptr() for p in plain.parameters()
    }
