"""Calibration: the bases of HOSVD, from gradients that are never all alive, on a model that is left as it was."""

import weakref

import numpy as np
import pytest
import torch

from sparsegrad import NonFiniteGradient, SparseGradError, calibrate
from sparsegrad.roles import find_targets, is_transposed

STEPS = 3


def gradients_of(model, batches, *, normalise=False, per_block=False):
    """The oracle's input: every MLP weight gradient (out, in) at the weights as they are, by plain autograd."""
    stacks: dict[str, list] = {}
    for batch in batches:
        model.zero_grad()
        model(**batch).loss.backward()
        for target in find_targets(model):
            grad = target.weight.grad
            assert grad is not None
            g_OI = (grad.T if is_transposed(target.module) else grad).double().numpy().copy()
            g_OI = g_OI / np.linalg.norm(g_OI) if normalise else g_OI
            stacks.setdefault(target.name if per_block else target.role, []).append(g_OI)
    model.zero_grad()
    return stacks


def svd(gradients, side):
    """Left singular vectors (columns) and values, of the unfolding along ``side``; values padded to the side's size."""
    unfolded = np.concatenate([g if side == "out" else g.T for g in gradients], axis=1)
    left, values, _ = np.linalg.svd(unfolded, full_matrices=True)
    return left, np.pad(values, (0, len(unfolded) - len(values)))


def assert_is_hosvd(basis, gradients):
    for side, rows, told in (("in", basis.u, basis.singular_in), ("out", basis.v, basis.singular_out)):
        left, values = svd(gradients, side)
        largest = values[0]
        assert largest > 0
        assert rows.dtype == told.dtype == torch.float64
        np.testing.assert_allclose(told.numpy(), values, rtol=0, atol=1e-4 * largest)
        np.testing.assert_allclose(rows @ rows.T, np.eye(len(rows)), rtol=0, atol=1e-12)
        cuts = np.flatnonzero(values[:-1] - values[1:] > 1e-3 * largest) + 1
        assert len(cuts)  # else the projectors below are not tested at all
        for cut in cuts:
            ours, theirs = rows[:cut].numpy(), left[:, :cut]
            np.testing.assert_allclose(ours.T @ ours, theirs @ theirs.T, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", ["streamed", "stacked"])
def test_bases_are_the_hosvd_of_the_stacked_gradients(arch, mode):
    model, batches = arch.model(dtype=torch.float64), arch.batches(STEPS)
    oracle = gradients_of(model, batches)
    bases = calibrate(model, batches, steps=STEPS, mode=mode)
    assert set(bases.table) == set(oracle) == set(arch.roles)
    assert bases.kind == "shared" and {role for role, _ in bases.layers.values()} == set(arch.roles)
    for role, basis in bases.table.items():
        assert len(oracle[role]) == STEPS * sum(r == role for r, _ in bases.layers.values())
        assert_is_hosvd(basis, oracle[role])


@pytest.mark.parametrize("mode", ["streamed", "stacked"])
def test_fewer_gradients_than_basis_vectors_still_give_whole_bases(bert, mode):
    model, batches = bert.model(dtype=torch.float64), bert.batches(1, size=1)
    bases = calibrate(model, batches, steps=1, mode=mode, basis="per-block")
    oracle = gradients_of(model, batches, per_block=True)
    assert len(bases.table) == 8
    for name, basis in bases.table.items():
        assert_is_hosvd(basis, oracle[name])


@pytest.mark.parametrize("basis", ["shared", "per-block"])
def test_normalised_gradients_weigh_the_same(bert, basis):
    model, batches = bert.model(dtype=torch.float64), bert.batches(STEPS)
    oracle = gradients_of(model, batches, normalise=True, per_block=basis == "per-block")
    bases = calibrate(model, batches, steps=STEPS, normalise=True, basis=basis)
    for key, found in bases.table.items():
        assert_is_hosvd(found, oracle[key])
        assert found.singular_in is not None
        assert found.singular_in.square().sum().item() == pytest.approx(len(oracle[key]), rel=1e-12)


def test_one_side_is_that_side_of_both(bert):
    model, batches = bert.model(dtype=torch.float64), bert.batches(2)
    both, only_in, only_out = (calibrate(model, batches, 2, sides=s).table for s in ("both", "in", "out"))
    for role in both:
        torch.testing.assert_close(only_in[role].u, both[role].u, rtol=0, atol=0)
        torch.testing.assert_close(only_out[role].v, both[role].v, rtol=0, atol=0)
        assert only_in[role].v is only_in[role].singular_out is only_out[role].u is only_out[role].singular_in is None


def test_none_runs_no_batch_and_the_header_tells_what_was_asked(bert):
    bases = calibrate(bert.model(), iter(()), basis="none", model_name="m", data_name="d")
    assert bases.kind == "none" and not bases.table and len(bases.layers) == 8
    assert (bases.header["model"], bases.header["data"]) == ("m", "d")


def test_the_header_names_model_data_and_settings(bert):
    header = calibrate(bert.model(), bert.batches(2), 2, sides="in", model_name="m", data_name="d").header
    assert header.items() >= {"model": "m", "data": "d", "steps": 2, "sides": "in", "normalise": False}.items()


def test_the_model_and_the_world_are_left_as_they_were(bert):
    import tensorly

    model = bert.model()
    for at, (p, module) in enumerate(zip(model.parameters(), model.modules(), strict=False)):
        p.requires_grad_(at % 3 > 0)
        p.grad = torch.full_like(p, at) if at % 2 else None
        module.training = at % 2 == 0
    flags = [(p, p.requires_grad, p.grad, None if p.grad is None else p.grad.clone()) for p in model.parameters()]
    weights, modes = [p.detach().clone() for p in model.parameters()], [m.training for m in model.modules()]
    before, chance = tensorly.get_backend(), torch.get_rng_state()
    for options in ({"mode": "streamed"}, {"mode": "stacked"}, {"kept": 13}):
        with torch.no_grad():
            calibrate(model, bert.batches(2), 2, **options)
    with pytest.raises(SparseGradError):
        calibrate(model, bert.batches(1), 2)
    assert tensorly.get_backend() == before
    assert torch.equal(torch.get_rng_state(), chance)
    assert [m.training for m in model.modules()] == modes
    for (p, requires, grad, value), weight in zip(flags, weights, strict=True):
        assert torch.equal(p, weight) and p.requires_grad == requires and p.grad is grad
        assert grad is None or value is None or torch.equal(grad, value)
        assert not p._post_accumulate_grad_hooks


@pytest.mark.parametrize("outer", [torch.no_grad, torch.enable_grad])
def test_it_runs_under_either_gradient_mode(bert, outer):
    with outer():
        assert calibrate(bert.model(), bert.batches(1), 1).table


@pytest.mark.parametrize(("options", "passes"), [({}, 1), ({"kept": 13}, 2)])
def test_never_two_weight_gradients_are_alive(bert, options, passes):
    """Of each gradient handed over, a weak reference: all earlier ones are dead when the next arrives."""
    model, alive, most = bert.model(), [], []

    def watch(parameter):
        alive.append(weakref.ref(parameter.grad.untyped_storage()))
        most.append(sum(ref() is not None for ref in alive) + sum(t.weight.grad is not None for t in others(parameter)))

    def others(parameter):
        return [t for t in find_targets(model) if t.weight is not parameter]

    for target in find_targets(model):
        target.weight.register_post_accumulate_grad_hook(watch)
    calibrate(model, bert.batches(2), 2, **options)
    assert len(most) == passes * 16 and max(most) == 1


@pytest.mark.parametrize(("options", "passes"), [({}, 1), ({"kept": 13}, 2), ({"core": (3, 5)}, 2)])
def test_exactly_the_steps_asked_are_drawn_and_told(bert, options, passes):
    """For the energies of a core the same batches are run again, not others."""
    batches, seen = iter(bert.batches(5)), []
    calibrate(bert.model(), batches, 2, progress=lambda done, of: seen.append((done, of)), **options)
    assert len(list(batches)) == 3 and seen == [(done + 1, 2 * passes) for done in range(2 * passes)]


def test_a_nan_gradient_names_the_layer(bert):
    model = bert.model()
    layer = model.bert.encoder.layer[2].output.dense
    layer.register_full_backward_pre_hook(lambda _m, grads: tuple(g * float("nan") for g in grads))
    with pytest.raises(NonFiniteGradient, match=r"layer\.2\.output\.dense"):
        calibrate(model, bert.batches(1), 1)
    assert all(p.grad is None for p in model.parameters())


def test_bad_requests_are_told(bert):
    model, batches = bert.model(), bert.batches(2)
    for options, told in (
        ({"steps": 3}, "ended after 2 of 3"),
        ({"steps": 0}, "steps=0"),
        ({"basis": "block"}, "basis='block'.*shared, per-block, none"),
        ({"sides": "left"}, "sides='left'.*both, in, out"),
        ({"mode": "fast"}, "mode='fast'"),
        ({"basis": "none", "kept": 5}, "two-sided bases; given basis='none'"),
        ({"sides": "in", "core": (3, 5)}, "two-sided bases; .*sides='in'"),
        ({"core": (17, 5)}, r"core=\(17, 5\) does not fit .*output\.dense"),
        ({"core": (3, 5), "kept": 16}, r"kept=16 .*do not fit core=\(3, 5\), which has 15"),
        ({"kept": 641}, "kept=641"),
    ):
        with pytest.raises(SparseGradError, match=told):
            calibrate(model, batches, **options)
    unlabelled = [{k: v for k, v in batch.items() if k != "labels"} for batch in batches]
    with pytest.raises(SparseGradError, match="no loss: put labels"):
        calibrate(model, unlabelled, 2)
