"""convert(support="fixed") and revert on every architecture: the same function, the flags, the memory, bad requests."""

import copy
import gc

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from sparsegrad import BasesMismatch, calibrate, convert, load, revert, save
from sparsegrad.compact import COMPACT_EXECUTIONS, CompactLinear
from sparsegrad.roles import find_targets, is_transposed
from tests.sparsegrad.compact_case import EXECUTIONS
from tests.sparsegrad.untouched import assert_untouched, shape_of_things

KEPT, CORE = 20, (6, 5)


def layers_of(model):
    return {name: m for name, m in model.named_modules() if isinstance(m, CompactLinear)}


def calibrated(arch, model, *, basis="per-block", core=CORE, **options):
    return calibrate(model, arch.batches(2), 2, basis=basis, core=core, **options)


def made(arch, *, execution="planned", basis="per-block", dtype=torch.float64, kept=KEPT, core=CORE):
    model = arch.model(dtype=dtype)
    return convert(
        model, calibrated(arch, model, basis=basis), kept=kept, core=core, support="fixed", execution=execution
    )


def logits(model, batch):
    with torch.no_grad():
        return model(**batch).logits


def fill(model, seed=0) -> dict[str, Tensor]:
    chance = torch.Generator().manual_seed(seed)
    for layer in layers_of(model).values():
        layer.values.data.copy_(0.1 * torch.randn(len(layer.values), generator=chance))
    return {name: layer.values.detach().clone() for name, layer in layers_of(model).items()}


def with_updates(plain, bases, values) -> dict[str, Tensor]:
    """The oracle: every linear's weight + V_R^T S U_C, from the bases and their energies alone."""
    updated = {}
    for target in find_targets(plain):
        pair = bases.table[target.name if bases.kind == "per-block" else target.role]
        energy = bases.energies[target.name]
        strongest = energy.flatten().sort(descending=True).indices[: len(values[target.name])].sort().values
        core = torch.zeros(energy.numel(), dtype=torch.float64)
        core[strongest] = values[target.name].double()
        update = pair.v.T @ core.view(energy.shape) @ pair.u
        weight = target.weight.detach()
        updated[f"{target.name}.weight"] = weight + (update.T if is_transposed(target.module) else update).to(weight)
    return updated


@EXECUTIONS
@pytest.mark.parametrize("basis", ["shared", "per-block"])
def test_the_function_is_the_formulas_before_and_after_training_and_reverting(arch, basis, execution):
    plain, batch = arch.model(dtype=torch.float64), arch.batch()
    bases, model = calibrated(arch, plain, basis=basis), arch.model(dtype=torch.float64)
    before = logits(plain, batch)
    assert convert(model, bases, kept=KEPT, core=CORE, support="fixed", execution=execution) is model
    assert set(layers_of(model)) == set(bases.layers)
    torch.testing.assert_close(logits(model, batch), before, rtol=0, atol=1e-12)
    loss = model(**batch).loss
    torch.testing.assert_close(loss, plain(**batch).loss, rtol=0, atol=1e-12)
    updated = with_updates(plain, bases, fill(model))
    with torch.no_grad():
        wanted = functional_call(plain, updated, kwargs=batch).logits
    assert not torch.allclose(wanted, before, atol=1e-4)
    torch.testing.assert_close(logits(model, batch), wanted, rtol=0, atol=1e-10)
    revert(model)
    assert [(n, type(m)) for n, m in model.named_modules()] == [(n, type(m)) for n, m in plain.named_modules()]
    torch.testing.assert_close(logits(model, batch), wanted, rtol=0, atol=1e-10)
    for name, weight in updated.items():
        torch.testing.assert_close(model.get_parameter(name), weight, rtol=0, atol=1e-12)


def test_gradients_through_the_whole_model_are_the_formulas(arch):
    plain, batch = arch.model(dtype=torch.float64), arch.batch()
    bases, model = calibrated(arch, plain), made(arch)
    values = fill(model)
    weights = {n: w.requires_grad_() for n, w in with_updates(plain, bases, values).items()}
    functional_call(plain, weights, kwargs=batch).loss.backward()
    model(**batch).loss.backward()
    for target in find_targets(plain):
        grad, pair = weights[f"{target.name}.weight"].grad, bases.table[target.name]
        assert grad is not None and pair.u is not None and pair.v is not None
        rotated = pair.v @ (grad.T if is_transposed(target.module) else grad) @ pair.u.T
        layer = layers_of(model)[target.name]
        torch.testing.assert_close(layer.values.grad, rotated.flatten()[layer.places.long()], rtol=1e-9, atol=1e-12)


def test_flags_and_modes_come_back(bert):
    model = bert.model().train()
    model.bert.encoder.layer[0].intermediate.dense.weight.requires_grad_(False)
    model.bert.encoder.layer[1].output.dense.bias.requires_grad_(False)
    model.bert.encoder.layer[1].output.dense.eval()
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    modes = {name: m.training for name, m in model.named_modules()}
    convert(model, calibrated(bert, model), kept=KEPT, core=CORE, support="fixed")
    for name, layer in layers_of(model).items():
        assert [n for n, p in layer.named_parameters() if p.requires_grad] == ["values"]
        assert layer.training == modes[name]
    others = {n: p.requires_grad for n, p in model.named_parameters() if not n.startswith(tuple(layers_of(model)))}
    assert others == {name: flags[name] for name in others} and len(others) == len(flags) - 16
    revert(model)
    assert {name: p.requires_grad for name, p in model.named_parameters()} == flags
    assert {name: m.training for name, m in model.named_modules()} == modes


@EXECUTIONS
def test_the_callers_linears_are_left_alone(bert, execution):
    """A linear kept from before convert is no part of the model any more."""
    model = bert.model()
    targets = find_targets(model)
    kept = [target.weight.detach().clone() for target in targets]
    convert(model, calibrated(bert, model), kept=KEPT, core=CORE, support="fixed", execution=execution)
    fill(model)
    model(**bert.batch())
    assert all(torch.equal(target.weight, weight) for target, weight in zip(targets, kept, strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_only_the_slices_stay_and_blocks_share_them(bert, dtype):
    model = bert.model(dtype=dtype)
    whole = calibrate(model, bert.batches(2), 2, core=(12, 14))
    convert(model, whole, kept=KEPT, core=CORE, support="fixed")
    layers = layers_of(model)
    pairs = {id(layer.slices) for layer in layers.values()}
    assert len(layers) == 8 and len(pairs) == 2
    for changed in (model, copy.deepcopy(model), model.to(torch.float64)):
        assert len({id(layer.slices) for layer in layers_of(changed).values()}) == 2
    for layer in layers.values():
        for rows, count in ((layer.slices.u, CORE[1]), (layer.slices.v, CORE[0])):
            assert len(rows) == count and rows.untyped_storage().nbytes() == rows.nbytes
    del whole
    gc.collect()
    # As calibrated, (12, 40) and (14, 40) rows: none is alive, as itself or under a view.
    # By type, not isinstance: asking some of torch's own objects for their class warns.
    alive = [t for t in gc.get_objects() if issubclass(type(t), Tensor) and t.dtype == torch.float64 and t.ndim == 2]
    sizes = {t.untyped_storage().nbytes() for t in alive}
    assert not sizes & {8 * 12 * 40, 8 * 14 * 40, 8 * 40 * 40}


def test_the_default_core_is_taken_where_none_is_given(bert):
    model = bert.model()
    bases = calibrate(model, bert.batches(2), 2, kept=0.05)
    convert(model, bases, kept=0.05, support="fixed")
    for layer in layers_of(model).values():
        assert len(layer.values) == 32 and (len(layer.slices.v), len(layer.slices.u)) in ((32, 16), (16, 32))


@pytest.mark.parametrize("kept", [CORE[0] * CORE[1], 1])
def test_k_from_one_to_the_whole_core(bert, kept):
    model = made(bert, kept=kept)
    model(**bert.batch()).loss.backward()
    assert all(layer.values.grad.shape == (kept,) for layer in layers_of(model).values())


@pytest.mark.parametrize("execution", COMPACT_EXECUTIONS)
def test_save_and_load_go_round(bert, tmp_path, execution):
    model = made(bert, dtype=torch.float32, execution=execution)
    fill(model)
    wanted = logits(model, bert.batch())
    save(model, tmp_path)
    fresh = load(bert.model(), tmp_path)
    assert {layer.execution for layer in layers_of(fresh).values()} <= {execution, "planned"}
    torch.testing.assert_close(logits(fresh, bert.batch()), wanted, rtol=1e-5, atol=1e-5)
    other = bert.model(seed=1)
    before = shape_of_things(other)
    with pytest.raises(BasesMismatch, match="weights"):
        load(other, tmp_path)
    assert_untouched(other, before)
