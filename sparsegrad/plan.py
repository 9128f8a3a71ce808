"""The cheapest order of products for dW~ = V g^T x U^T, and for writing a sparse step back as V^T dW~ U.

Everything here is arithmetic on sizes, so the choice can be read, tabled and tested.
Legend: A active tokens, I in, O out; r rows and c columns of the rotated space that are wanted (O and I for all).
"""

from __future__ import annotations

from typing import Literal, TypeVar

from torch import Tensor

# The ways to bracket V (r, O) @ g^T (O, A) @ x (A, I) @ U^T (I, c) into three products.
Order = Literal["(Vg)(xU)", "((Vg)x)U", "V(g(xU))", "(V(gx))U", "V((gx)U)"]
ORDERS: tuple[Order, ...] = ("(Vg)(xU)", "((Vg)x)U", "V(g(xU))", "(V(gx))U", "V((gx)U)")

# An operation of a compressed product takes about as long as this many of a dense one (768 x 3072, two CPU cores: 18
# against 300 billion a second).
SPARSE_COST = 16
T = TypeVar("T", int, Tensor)


def gradient_flops(order: Order, *, active: int, inner: int, out: int, rows: int, cols: int) -> int:
    """Floating-point operations (a multiply and an add are two) of dW~ in that order, both bases dense."""
    a, i, o, r, c = active, inner, out, rows, cols
    vg, xu, gx = r * o * a, a * i * c, o * a * i
    products = {
        "(Vg)(xU)": vg + xu + r * a * c,
        "((Vg)x)U": vg + r * a * i + r * i * c,
        "V(g(xU))": xu + o * a * c + r * o * c,
        "(V(gx))U": gx + r * o * i + r * i * c,
        "V((gx)U)": gx + o * i * c + r * o * c,
    }
    return 2 * products[order]


def gradient_order(*, active: int, inner: int, out: int, rows: int, cols: int) -> Order:
    """The order with the fewest operations; of equals the first of ORDERS."""
    sizes = {"active": active, "inner": inner, "out": out, "rows": rows, "cols": cols}
    return min(ORDERS, key=lambda order: gradient_flops(order, **sizes))


def write_back_flops(*, inner: int, out: int, rows: T, cols: T, by_rows: T, by_cols: T) -> T:
    """Operations of W += V^T D U for a D of few entries, covered by ``rows`` of its rows and ``cols`` of its columns.

    The covering rows with their ``by_rows`` entries meet U, the columns with the ``by_cols`` others V, each strip dense
    or compressed (``strip_flops``); then one product of inner size rows + cols writes both. Takes numbers, or vectors
    of candidates.
    """
    strips = strip_flops(rows, inner, by_rows) + strip_flops(cols, out, by_cols)
    return strips + 2 * (rows + cols) * out * inner


def strip_flops(lines: T, length: int, entries: T) -> T:
    """Operations of a strip of so many lines times a square basis: dense, or, where that is less, compressed and
    weighted by SPARSE_COST."""
    dense, compressed = 2 * lines * length * length, 2 * SPARSE_COST * entries * length
    if isinstance(dense, Tensor):
        return dense.minimum(compressed)
    return min(dense, compressed)


def core_flops(*, tokens: int, inner: int, out: int, rows: int, cols: int) -> dict[str, int]:
    """Operations a training step spends on a core's update V_R^T S U_C, beyond what both ways share.

    "added": (x_c S^T) V_R in the forward and (g_r S) U_C in the backward, every token active. "written": V_R^T S U_C
    once, in the cheaper bracket, and added to W.
    """
    added = 2 * tokens * (2 * rows * cols + rows * out + cols * inner)
    brackets = (rows * cols * out + cols * out * inner, rows * cols * inner + rows * out * inner)
    return {"added": added, "written": 2 * min(brackets) + out * inner}


def core_is_cheaper_written(*, tokens: int, inner: int, out: int, rows: int, cols: int) -> bool:
    """Whether to write a changed core into W before a forward of so many tokens, rather than add it to y."""
    flops = core_flops(tokens=tokens, inner=inner, out=out, rows=rows, cols=cols)
    return flops["written"] < flops["added"]
