"""Top-k by magnitude is a sort's top-k: exact, however unlucky the sample that makes it quick."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsegrad import SparseGradError
from sparsegrad.support import _SAMPLED_FROM, _stride, resolve_kept, top_k

LARGE = (300, 400)  # above _SAMPLED_FROM, and no multiple of the sample's stride
STRIDE = _stride(*LARGE)


def assert_is_top_k(dense, k):
    """Against a full sort: k places, sorted and unique, holding the k largest magnitudes and dense's own values."""
    chosen = top_k(dense, k)
    assert chosen.is_coalesced() and chosen.shape == dense.shape and chosen.dtype == dense.dtype
    rows, cols = chosen.indices()
    flat = rows * dense.shape[1] + cols
    assert len(flat) == k and (flat.diff() > 0).all()
    torch.testing.assert_close(chosen.values(), dense[rows, cols], rtol=0, atol=0, equal_nan=True)
    expected = dense.reshape(-1).abs().sort(descending=True).values[:k]  # torch sorts NaN as the largest
    ours = chosen.values().abs().sort(descending=True).values
    torch.testing.assert_close(ours, expected, rtol=0, atol=0, equal_nan=True)


@settings(max_examples=200, deadline=None, database=None)
@given(
    data=st.data(),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    values=st.sampled_from([(-1.0, 0.0, 1.0), (0.0,), (3.0,), tuple(map(float, range(-20, 20)))]),
)
def test_equals_a_sort_with_ties_and_zeros(data, shape, values):
    drawn = data.draw(st.lists(st.sampled_from(values), min_size=math.prod(shape), max_size=math.prod(shape)))
    dense = torch.tensor(drawn, dtype=torch.float64).reshape(shape)
    assert_is_top_k(dense, data.draw(st.integers(1, dense.numel())))


def layouts():
    """Large matrices, some made to mislead a sample taken at every STRIDE-th place."""
    n = math.prod(LARGE)
    place, noise = torch.arange(n), torch.randn(n, generator=torch.Generator().manual_seed(0)).double()
    sampled = place % STRIDE == 0
    yield "normal", noise
    yield "heavy tail", noise**9
    yield "mass only where not sampled", noise.masked_fill(sampled, 0)
    yield "mass only where sampled", noise.masked_fill(~sampled, 0)
    yield "sample far above the rest", noise + 1e6 * sampled
    yield "sample far below the rest", noise + 1e6 * ~sampled
    yield "all equal", torch.ones(n).double()
    yield "all zero", torch.zeros(n).double()
    yield "ascending", place.double()
    yield "descending", -place.flip(0).double()
    yield "two values", (place % 7 == 0).double()
    yield "few nonzero", noise * (place < 50)
    yield "few nan", noise.masked_fill(place % 9973 == 1, float("nan"))
    yield "nan only where not sampled", noise.masked_fill((place % 9973 == 1) & ~sampled, float("nan"))
    yield "nan where sampled", noise.masked_fill(sampled, float("nan"))
    yield "all nan", noise * float("nan")
    yield "inf", noise.masked_fill(place % 5000 == 3, -float("inf"))


@pytest.mark.parametrize("layout", [pytest.param(flat, id=name.replace(" ", "-")) for name, flat in layouts()])
def test_equals_a_sort_on_large_matrices(layout):
    n = math.prod(LARGE)
    assert n > _SAMPLED_FROM
    for k in (1, 2, 37, n // 100, n // 4 - 1, n // 4, n // 4 + 1, n - 1, n):
        assert_is_top_k(layout.reshape(LARGE), k)


@pytest.mark.parametrize("shape", [LARGE, (768, 3072), (3072, 768), (1536, 384), (1024, 1024)])
@pytest.mark.parametrize("crowded", [0.0, 0.5, 1.0])
def test_the_quick_way_is_taken(shape, crowded, monkeypatch):
    """On ordinary gradients the whole matrix is never ranked, nor on rotated ones, whose leading rows and columns are
    the largest: a stride that divides the row length would see the leading column far too often."""
    ranked, topk = [], torch.Tensor.topk

    def watched(self, *args, **kwargs):
        ranked.append(len(self))
        return topk(self, *args, **kwargs)

    rows, cols = (torch.arange(1, size + 1.0) ** -crowded for size in shape)
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * rows[:, None] * cols
    monkeypatch.setattr(torch.Tensor, "topk", watched)
    top_k(gradient, gradient.numel() // 100)
    assert ranked and max(ranked) < gradient.numel() // 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_any_dtype_and_any_strides(dtype):
    dense = torch.randn(9, 7).to(dtype)
    for view in (dense, dense.T, dense[::2, 1:]):
        assert_is_top_k(view, 5)


@pytest.mark.parametrize(
    ("kept", "entries", "count"),
    [(1, 10, 1), (10, 10, 10), (22_000, 768 * 3072, 22_000), (0.01, 2_359_296, 23_593), (1.0, 7, 7), (1e-9, 100, 1)],
)
def test_kept_is_a_count_or_a_share(kept, entries, count):
    assert resolve_kept(kept, entries) == count


@pytest.mark.parametrize("kept", [0, -1, 11, 0.0, -0.5, 1.5, float("nan"), float("inf"), True, False, "1%", None])
def test_kept_outside_the_layer_is_told(kept):
    with pytest.raises(SparseGradError, match="kept="):
        resolve_kept(kept, 10, layer="mlp.up")
