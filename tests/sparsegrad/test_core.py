"""The core: its default size, its limits, the k places in it, and what its update costs added or written."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from sparsegrad import SparseGradError, calibrate
from sparsegrad.core import Slices, check_core, default_core, strongest
from sparsegrad.plan import core_flops, core_is_cheaper_written
from sparsegrad.roles import find_targets, is_transposed

SIZES = st.integers(1, 150)


@pytest.mark.parametrize(
    ("kept", "out", "inner", "core"),
    [
        (23_592, 3072, 768, (160, 160)),  # 1% of BERT-base's intermediate: 153.6 a side
        (1, 3072, 768, (32, 32)),
        (1024, 3072, 768, (32, 32)),
        (1025, 3072, 768, (64, 64)),
        (100, 16, 40, (16, 32)),  # the short side is clipped
        (513, 16, 40, (16, 40)),  # 16 x 32 is too small: the next square, both sides clipped
        (640, 16, 40, (16, 40)),
        (5, 3, 2, (3, 2)),
        (3072 * 768, 3072, 768, (3072, 768)),
    ],
)
def test_the_default_core(kept, out, inner, core):
    assert default_core(kept, out, inner) == core


@given(SIZES, SIZES, st.data())
def test_the_default_is_the_smallest_clipped_square_that_holds_k(out, inner, data):
    kept = data.draw(st.integers(1, out * inner))
    clipped = ((min(side, out), min(side, inner)) for side in range(32, 1000, 32))
    assert default_core(kept, out, inner) == next(core for core in clipped if core[0] * core[1] >= kept)


@pytest.mark.parametrize(
    ("core", "kept", "told"),
    [
        ((17, 4), 5, ["17", "16", "the.layer"]),
        ((4, 41), 5, ["41", "40", "the.layer"]),
        ((4, 4), 17, ["17", "16", "the.layer"]),
        ((0, 4), None, ["the.layer"]),
        ((4, -1), None, ["the.layer"]),
    ],
)
def test_a_core_that_does_not_fit_is_told(core, kept, told):
    with pytest.raises(SparseGradError) as raised:
        check_core(core, kept, 16, 40, layer="the.layer")
    assert all(word in str(raised.value) for word in told), raised.value


def test_a_core_that_fits_is_itself():
    for core, kept in (((16, 40), 640), ((1, 1), 1), ((4, 4), 16), ((4, 5), None)):
        assert check_core(core, kept, 16, 40, layer="the.layer") == core


@given(st.integers(1, 9), st.integers(1, 9), st.booleans(), st.data())
def test_strongest_are_exactly_k_places_of_most_energy(rows, cols, ties, data):
    kept = data.draw(st.integers(1, rows * cols))
    chance = torch.Generator().manual_seed(rows + 10 * cols)
    energy = torch.rand(rows, cols, generator=chance, dtype=torch.float64)
    energy = (energy * 2).round() if ties else energy
    places = strongest(energy, kept)
    assert places.dtype == torch.int32 and places.shape == (kept,)
    flat = energy.flatten().numpy()
    assert np.all(np.diff(places.numpy()) > 0) and places[0] >= 0 and places[-1] < rows * cols
    np.testing.assert_array_equal(np.sort(flat[places.numpy()]), np.sort(flat)[-kept:])


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("basis", ["shared", "per-block"])
def test_energies_are_those_of_the_rotated_gradients(arch, basis, normalise):
    """Against every batch's gradient by plain autograd, rotated in float64 and summed in squares."""
    model, batches = arch.model(dtype=torch.float64), arch.batches(3)
    whole = calibrate(model, batches, 3, basis=basis, normalise=normalise)
    cut = calibrate(model, batches, 3, basis=basis, normalise=normalise, kept=600)
    energies: dict[str, torch.Tensor] = {}
    for batch in batches:
        model.zero_grad()
        model(**batch).loss.backward()
        for target in find_targets(model):
            grad = target.weight.grad
            assert grad is not None
            g_OI = grad.T if is_transposed(target.module) else grad
            g_OI = g_OI / g_OI.norm() if normalise else g_OI
            pair = whole.table[target.role if basis == "shared" else target.name]
            assert pair.u is not None and pair.v is not None
            energy = (pair.v @ g_OI @ pair.u.T).square()
            energies[target.name] = energies[target.name] + energy if target.name in energies else energy
    assert set(cut.energies) == set(whole.layers) and not whole.energies
    for name, (_, (out, inner)) in whole.layers.items():
        rows, cols = default_core(600, out, inner)
        assert cut.energies[name].shape == (rows, cols) and cut.energies[name].dtype == torch.float64
        wanted = energies[name][:rows, :cols]
        torch.testing.assert_close(cut.energies[name], wanted, rtol=1e-9, atol=1e-12 * wanted.max().item())
    for key, pair in cut.table.items():
        for leading, every in ((pair.u, whole.table[key].u), (pair.v, whole.table[key].v)):
            assert leading is not None and every is not None
            assert torch.equal(leading, every[: len(leading)])


def test_a_core_by_size_keeps_those_rows_alone(bert):
    bases = calibrate(bert.model(), bert.batches(2), 2, core=(7, 5))
    for pair in bases.table.values():
        for rows, count in ((pair.v, 7), (pair.u, 5)):
            assert rows is not None
            assert len(rows) == count and rows.untyped_storage().nbytes() == rows.nbytes
    assert {tuple(energy.shape) for energy in bases.energies.values()} == {(7, 5)}


@given(SIZES, SIZES, SIZES, st.data())
def test_the_cores_operations_are_those_of_its_products(tokens, inner, out, data):
    """By torch's counter, which leaves the addition to W out."""
    rows, cols = data.draw(st.integers(1, out)), data.draw(st.integers(1, inner))
    told = core_flops(tokens=tokens, inner=inner, out=out, rows=rows, cols=cols)
    assert set(told) == {"added", "written"}
    x_TC, g_TR, s_RC = torch.ones(tokens, cols), torch.ones(tokens, rows), torch.ones(rows, cols)
    u_CI, v_RO = torch.ones(cols, inner), torch.ones(rows, out)

    def counted(product):
        with FlopCounterMode(display=False) as counter:
            product()
        return counter.get_total_flops()

    assert told["added"] == counted(lambda: ((x_TC @ s_RC.T) @ v_RO, (g_TR @ s_RC) @ u_CI))
    brackets = counted(lambda: (v_RO.T @ s_RC) @ u_CI), counted(lambda: v_RO.T @ (s_RC @ u_CI))
    assert told["written"] - min(brackets) in (0, out * inner, 2 * out * inner)
    sizes = {"tokens": tokens, "inner": inner, "out": out, "rows": rows, "cols": cols}
    assert core_is_cheaper_written(**sizes) == (told["written"] < told["added"])


def test_few_tokens_are_added_and_many_written():
    shape = {"inner": 768, "out": 3072, "rows": 160, "cols": 160}
    assert not core_is_cheaper_written(tokens=16, **shape)
    assert core_is_cheaper_written(tokens=2048, **shape)
    assert core_flops(tokens=2048, **shape)["added"] == 2 * 2048 * 160 * (160 + 3072 + 160 + 768)


def test_slices_put_a_core_back(rotation):
    pair = rotation(6, 9)
    slices, core = Slices(pair.u[:3], pair.v[:4]), torch.randn(4, 3, dtype=torch.float64)
    torch.testing.assert_close(slices.unrotate(core), pair.v[:4].T @ core @ pair.u[:3], rtol=0, atol=1e-12)
    assert not slices.state_dict()
