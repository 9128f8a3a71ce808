"""The FLOP model: a table worked out by hand, and the choice against every bracketing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsegrad.plan import ORDERS, SPARSE_COST, gradient_flops, gradient_order, write_back_flops
from sparsegrad.products import add_unrotated_, chain, row_cover

SIZES = st.integers(1, 40)

# active, in, out, rows, cols -> the order and its operations, worked out on paper.
TABLE = [
    # BERT-base intermediate, 180 active tokens: rotate both short sides, then meet (180 is the least dimension).
    ((180, 768, 3072, 3072, 768), "(Vg)(xU)", 2 * (3072 * 3072 * 180 + 180 * 768 * 768 + 3072 * 180 * 768)),
    # The output projection, transposed.
    ((180, 3072, 768, 768, 3072), "(Vg)(xU)", 2 * (768 * 768 * 180 + 180 * 3072 * 3072 + 768 * 180 * 3072)),
    # Every token active: V g would cost 3072 * 3072 * 8192; the rotations are cheaper on the finished gradient.
    ((8192, 768, 3072, 3072, 768), "V((gx)U)", 2 * (3072 * 8192 * 768 + 3072 * 768 * 768 + 3072 * 3072 * 768)),
    # A core of 160 x 160 on few tokens: only the wanted rows and columns are ever made.
    ((180, 768, 3072, 160, 160), "(Vg)(xU)", 2 * (160 * 3072 * 180 + 180 * 768 * 160 + 160 * 180 * 160)),
    # No active token: everything costs what the rotations of nothing cost; the one that multiplies nothing wins.
    ((0, 768, 3072, 3072, 768), "(Vg)(xU)", 0),
]


@pytest.mark.parametrize(("sizes", "order", "flops"), TABLE)
def test_the_table(sizes: tuple[int, ...], order: str, flops: int) -> None:
    named = dict(zip(("active", "inner", "out", "rows", "cols"), sizes, strict=True))
    chosen = gradient_order(**named)
    assert gradient_flops(chosen, **named) == flops
    # Equal costs (either side first) may be named either way.
    assert gradient_flops(order, **named) == flops  # type: ignore[arg-type]


@given(SIZES, SIZES, SIZES, SIZES, SIZES)
def test_no_order_is_cheaper_and_each_gives_the_product(a: int, i: int, o: int, r: int, c: int) -> None:
    sizes = {"active": a, "inner": i, "out": o, "rows": r, "cols": c}
    least = gradient_flops(gradient_order(**sizes), **sizes)
    generator = torch.Generator().manual_seed(a)
    v, g, x, u = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((r, o), (o, a), (a, i), (i, c))
    )
    whole = v @ g @ x @ u
    for order in ORDERS:
        assert least <= gradient_flops(order, **sizes)
        torch.testing.assert_close(chain(v, g, x, u, order), whole, rtol=1e-10, atol=1e-10)


@given(SIZES, SIZES, SIZES, SIZES, SIZES)
def test_the_flops_are_those_of_the_products(a: int, i: int, o: int, r: int, c: int) -> None:
    """Counted by torch's own counter, for every order."""
    from torch.utils.flop_counter import FlopCounterMode

    v, g, x, u = (torch.ones(*shape) for shape in ((r, o), (o, a), (a, i), (i, c)))
    for order in ORDERS:
        with FlopCounterMode(display=False) as counter:
            chain(v, g, x, u, order)
        told = gradient_flops(order, active=a, inner=i, out=o, rows=r, cols=c)
        assert counter.get_total_flops() == told


def test_the_write_back_by_hand() -> None:
    """40 rows that are dense enough meet U (768), 60 columns that are not V (3072), and 100 write both."""
    sizes = {"inner": 768, "out": 3072, "rows": 40, "cols": 60, "by_rows": 8_000, "by_cols": 9_000}
    products = 40 * 768 * 768 + SPARSE_COST * 9_000 * 3072 + 100 * 3072 * 768
    assert SPARSE_COST * 8_000 > 40 * 768 and SPARSE_COST * 9_000 < 60 * 3072
    assert write_back_flops(**sizes) == 2 * products
    rows, cols, by_rows, by_cols = (torch.tensor([sizes[name]]) for name in ("rows", "cols", "by_rows", "by_cols"))
    told = write_back_flops(inner=768, out=3072, rows=rows, cols=cols, by_rows=by_rows, by_cols=by_cols)
    assert told.tolist() == [2 * products]


def test_the_write_back_spends_what_is_told() -> None:
    """Counted by torch's own counter, at the cover it chooses."""
    from torch.utils.flop_counter import FlopCounterMode

    step = torch.zeros(30, 20)
    step[[2, 11]] = 1
    step[:, 4] = 1
    rows, cols = step.nonzero().T
    taken = row_cover(rows, cols, (30, 20))[1]
    with FlopCounterMode(display=False) as counter:
        # In W's own dtype the last product is added in place, which the counter does not see.
        add_unrotated_(torch.zeros(30, 20).double(), step.to_sparse(), torch.eye(20), torch.eye(30))
    assert taken == 2 and counter.get_total_flops() == write_back_flops(
        inner=20, out=30, rows=2, cols=1, by_rows=40, by_cols=28
    )


@given(SIZES, SIZES, st.integers(0, 1000))
def test_the_cover_holds_every_entry_and_none_is_cheaper(out: int, inner: int, seed: int) -> None:
    """Against every other number of rows taken, counted one by one."""
    generator = torch.Generator().manual_seed(seed)
    dense = torch.rand(out, inner, generator=generator) < torch.rand(out, 1, generator=generator) ** 4
    rows, cols = dense.nonzero().T
    order, taken = row_cover(rows, cols, (out, inner))
    assert order.sort().values.tolist() == list(range(out))
    costs = []
    for count in range(out + 1):
        rest = dense.clone()
        rest[order[:count]] = False
        by_cols = int(rest.sum())
        sizes = {"rows": count, "cols": int(rest.any(dim=0).sum())}
        costs.append(write_back_flops(inner=inner, out=out, by_rows=len(rows) - by_cols, by_cols=by_cols, **sizes))
    assert costs[taken] == min(costs)


def test_a_cross_is_covered_by_its_arms() -> None:
    """Two full rows and three full columns: neither rows alone (300) nor columns alone (200), but five."""
    cross = torch.zeros(300, 200, dtype=torch.bool)
    cross[[7, 90]] = True
    cross[:, [0, 5, 199]] = True
    rows, cols = cross.nonzero().T
    order, taken = row_cover(rows, cols, (300, 200))
    assert taken == 2 and set(order[:2].tolist()) == {7, 90}


@pytest.mark.parametrize("sides", ["both", "in", "out", "none"])
@pytest.mark.parametrize("shape", [(24, 10), (10, 24)])
@pytest.mark.parametrize("entries", [0, 1, 13, 240])
def test_a_step_written_back_is_the_dense_product(shape: tuple[int, int], entries: int, sides: str) -> None:
    out, inner = shape
    generator = torch.Generator().manual_seed(entries)
    at = torch.randperm(out * inner, generator=generator)[:entries].sort().values
    values = torch.randn(entries, generator=generator, dtype=torch.float64)
    step = torch.sparse_coo_tensor(torch.stack((at // inner, at % inner)), values, shape, check_invariants=True)
    u, v = (torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64)).Q for n in (inner, out))
    w = torch.randn(*shape, generator=generator, dtype=torch.float64)
    dense = step.to_dense()
    if sides in ("both", "in"):
        dense = dense @ u
    if sides in ("both", "out"):
        dense = v.T @ dense
    expected = w + dense
    add_unrotated_(w, step.coalesce(), u if sides in ("both", "in") else None, v if sides in ("both", "out") else None)
    torch.testing.assert_close(w, expected, rtol=1e-12, atol=1e-12)
