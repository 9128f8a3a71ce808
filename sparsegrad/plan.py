"""The cheapest order of products for dW~ = V g^T x U^T, and for writing a sparse step back as V^T dW~ U.

Everything here is arithmetic on sizes: no tensor is touched, so the choice can be read, tabled and tested.
Legend: A active tokens, I in, O out; r rows and c columns of the rotated space that are wanted (O and I for all).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# The ways to bracket V (r, O) @ g^T (O, A) @ x (A, I) @ U^T (I, c) into three products.
Order = Literal["(Vg)(xU)", "((Vg)x)U", "V(g(xU))", "(V(gx))U", "V((gx)U)"]
ORDERS: tuple[Order, ...] = ("(Vg)(xU)", "((Vg)x)U", "V(g(xU))", "(V(gx))U", "V((gx)U)")


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


@dataclass(frozen=True, kw_only=True)
class WriteBack:
    """How V^T D U is multiplied for a D (O, I) of few entries: which basis meets the sparse matrix first.

    ``flops``: of the sparse product (2 an entry and column) and the dense one that follows over the touched
    rows or columns.
    """

    sparse_first: Literal["V", "U"]
    flops: int


def write_back(*, inner: int, out: int, entries: int, touched_rows: int, touched_cols: int) -> WriteBack:
    """V^T first leaves a dense (O, touched columns) @ (.., I); U first a (O, touched rows) @ (.., I).

    The larger basis does best to meet the sparse side, unless the entries lie in few rows (or columns).
    """
    with_v = 2 * (entries * out + out * touched_cols * inner)
    with_u = 2 * (entries * inner + out * touched_rows * inner)
    return WriteBack(sparse_first="V", flops=with_v) if with_v <= with_u else WriteBack(sparse_first="U", flops=with_u)


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
