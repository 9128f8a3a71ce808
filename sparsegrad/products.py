"""The products: the paper's sparse by dense, a chain of four in a given order, a sparse step written back.

Legend: B rows of A, C columns of A = rows of B, D columns of B; R and K rows and columns of A that hold a nonzero.
"""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import Tensor

from .dataless import is_dataless
from .plan import Order, strip_flops, write_back_flops


def nonzero_rows(a_BC: Tensor) -> Tensor:
    """Indices of the rows that hold a nonzero, ascending: (R,) int64. NaN counts as nonzero.

    Waits for the device (the number of rows is data); of a matrix without data, every row.
    """
    if is_dataless(a_BC):
        return torch.arange(len(a_BC), device=a_BC.device)
    if not a_BC.numel():  # no extremes
        return torch.arange(0, device=a_BC.device)
    # A row's extremes are both zero where all of it is: two reductions, a quarter of the time of a matrix of flags.
    return ((a_BC.amax(dim=1) != 0) | (a_BC.amin(dim=1) != 0)).nonzero().squeeze(1)


def rows_of(a: Tensor, rows: Tensor) -> Tensor:
    """Those rows; the matrix itself where they are all."""
    return a if len(rows) == len(a) else a[rows]


def scatter_rows(a: Tensor, rows: Tensor | None, length: int) -> Tensor:
    """Rows back in their places, zeros between; ``a`` itself where there are none between."""
    if rows is None or len(rows) == length:
        return a
    return a.new_zeros(length, a.shape[1]).index_copy_(0, rows, a)


def sparse_by_dense(a_BC: Tensor, b_CD: Tensor, *, layout: Literal["pairs", "rows"] = "pairs") -> Tensor:
    """``a @ b`` for an ``a`` whose nonzeros lie in few rows and columns (the paper's equations 1 and 2).

    1. rows, cols = indices of the rows and columns of A that hold a nonzero;
       C_RD = A[rows][:, cols] @ B[cols]: the product of the slices, exact, since what is left out is zero.
    2. Element (r, d) of it stands at (rows[r], d) of the whole product, returned as coalesced COO of shape (B, D).

    ``layout="pairs"`` writes one index pair an element, as the paper does; ``"rows"`` gives the same matrix as hybrid
    COO (one index a row, dense in the columns), which spares 16 bytes an element: what the layer reads.

    Args:
        a_BC: dense matrix (B, C), any floating dtype.
        b_CD: dense matrix (C, D), same dtype.
    Raises:
        ValueError: where the shapes do not chain, an argument is not a matrix, or the layout is unknown.
    """
    if a_BC.dim() != 2 or b_CD.dim() != 2 or a_BC.shape[1] != b_CD.shape[0]:
        raise ValueError(
            f"sparse_by_dense needs matrices (B, C) and (C, D); given {tuple(a_BC.shape)} and {tuple(b_CD.shape)}"
        )
    if layout not in ("pairs", "rows"):
        raise ValueError(f"layout={layout!r}: give 'pairs' or 'rows'")
    rows = nonzero_rows(a_BC)
    a_RC = a_BC if len(rows) == len(a_BC) else a_BC[rows]
    cols = nonzero_rows(a_RC.T)
    c_RD = a_RC @ b_CD if len(cols) == a_BC.shape[1] else a_RC[:, cols] @ b_CD[cols]
    shape = (a_BC.shape[0], b_CD.shape[1])
    if layout == "rows":
        return coalesced_coo(rows[None], c_RD, shape)
    width = torch.arange(shape[1], device=rows.device)
    pairs = torch.stack((rows.repeat_interleave(shape[1]), width.repeat(len(rows))))
    return coalesced_coo(pairs, c_RD.reshape(-1), shape)


def coalesced_coo(indices: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """COO whose indices are known to be sorted and unique, so that nothing has to be sorted again."""
    return torch.sparse_coo_tensor(indices, values, shape, is_coalesced=True, check_invariants=False)


def chain(v: Tensor, g: Tensor, x: Tensor, u: Tensor, order: Order) -> Tensor:
    """``v @ g @ x @ u`` bracketed as ``order`` says (``plan.gradient_order`` chooses)."""
    match order:
        case "(Vg)(xU)":
            return (v @ g) @ (x @ u)
        case "((Vg)x)U":
            return ((v @ g) @ x) @ u
        case "V(g(xU))":
            return v @ (g @ (x @ u))
        case "(V(gx))U":
            return (v @ (g @ x)) @ u
        case "V((gx)U)":
            return v @ ((g @ x) @ u)


def add_unrotated_(w_OI: Tensor, step: Tensor, u_II: Tensor | None, v_OO: Tensor | None) -> None:
    """``W += V^T D U`` in place, for a coalesced COO step D (out, in) in rotated coordinates; None: the identity.

    D is covered by few rows and columns: those rows meet U, and what the columns hold beside them meets V; one product
    as wide as the cover is long writes both. A strip is multiplied dense where a tenth of it is nonzero, as it is where
    entries crowd, and over compressed rows, which a CPU multiplies many times faster than pairs, where they scatter.
    """
    if is_dataless(w_OI):
        _add_dataless_(w_OI, step, u_II, v_OO)
        return
    if u_II is None and v_OO is None:
        w_OI.add_(step)
        return
    # At least fp32: a CPU has no compressed product in half precision, and the sum is rounded once, into W.
    wide = torch.promote_types(step.dtype, torch.float32)
    (rows, cols), values, (out, inner) = step.indices(), step.values().to(wide), step.shape
    u, v = (None if basis is None else basis.to(wide) for basis in (u_II, v_OO))
    if v is None:
        assert u is not None
        w_OI.add_((_compressed(rows, cols, values, (out, inner)) @ u).to(w_OI.dtype))
        return
    if u is None:
        w_OI.add_((_compressed(cols, rows, values, (inner, out)) @ v).T.to(w_OI.dtype))
        return
    order, taken = row_cover(rows, cols, (out, inner))
    rank = torch.empty_like(order).index_copy_(0, order, torch.arange(out, device=rows.device))[rows]
    # As places, not flags: each indexing by flags would wait for the device.
    above, below = (rank < taken).nonzero().squeeze(1), (rank >= taken).nonzero().squeeze(1)
    beside = torch.zeros(inner, dtype=torch.bool, device=rows.device).index_fill_(0, cols[below], True)
    strip_RI = _strip(rank[above], cols[above], values[above], (taken, inner))
    strip_CO = _strip((beside.cumsum(0) - 1)[cols[below]], rows[below], values[below], (int(beside.sum()), out))
    _add_product_(w_OI, torch.cat((v[order[:taken]], strip_CO @ v)).T, torch.cat((strip_RI @ u, u[beside])))


def _strip(lines: Tensor, across: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """The triples as a matrix of that shape, in the form whose product with a basis is the cheaper."""
    if strip_flops(*shape, len(values)) < 2 * shape[0] * shape[1] ** 2:
        return _compressed(lines, across, values, shape)
    dense = values.new_zeros(shape)
    dense[lines, across] = values
    return dense


def _add_dataless_(w_OI: Tensor, step: Tensor, u_II: Tensor | None, v_OO: Tensor | None) -> None:
    """As ``add_unrotated_`` where the lesser side's length covers the step: which rows and columns do is data."""
    if u_II is None and v_OO is None:  # in place; torch has no such sum for tensors without data
        return
    (out, inner), values = step.shape, step.values()
    rows = min(len(values), out, inner)
    wide = torch.promote_types(values.dtype, torch.float32)
    _bases = [basis.to(wide) for basis in (u_II, v_OO) if basis is not None]  # alive until the step is written
    right_RI, left_RO = values.new_empty(rows, inner, dtype=wide), values.new_empty(rows, out, dtype=wide)
    _add_product_(w_OI, left_RO.T, torch.cat((right_RI,)))


def row_cover(rows: Tensor, cols: Tensor, shape: tuple[int, int]) -> tuple[Tensor, int]:
    """Rows of a sparse matrix by falling number of entries, and how many of them to take so that these rows, and the
    columns of all entries outside them, make the cheapest write-back (``plan.write_back_flops``).

    The entries of a rotated gradient crowd into the leading rows and columns of the basis, so that few of both cover
    them all, where rows or columns alone would be hundreds. Covering rows and columns bound the rank (Konig 1931).
    """
    out, inner = shape
    entries, order = torch.bincount(rows, minlength=out).sort(descending=True, stable=True)
    rank = torch.empty_like(order).index_copy_(0, order, torch.arange(out, device=rows.device))
    # A column is needed while the rows taken leave out its entry of the lowest rank.
    last = torch.full((inner,), -1, device=rows.device).scatter_reduce_(0, cols, rank[rows], "amax")
    needed = torch.bincount(last + 1, minlength=out + 1)
    taken = torch.arange(out + 1, device=rows.device)
    by_rows = torch.nn.functional.pad(entries.cumsum(0), (1, 0))
    flops = write_back_flops(
        inner=inner,
        out=out,
        rows=taken,
        cols=inner - needed.cumsum(0),
        by_rows=by_rows,
        by_cols=len(rows) - by_rows,
    )
    return order, int(flops.argmin())


def _add_product_(w: Tensor, a: Tensor, b: Tensor) -> None:
    """``w += a @ b``, without a matrix between where the dtypes agree."""
    if w.dtype == a.dtype:
        w.addmm_(a, b)
    else:
        w.add_((a @ b).to(w.dtype))


def _compressed(rows: Tensor, cols: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Compressed sparse rows of (row, column, value) triples without doubles."""
    order = (rows * shape[1] + cols).argsort()
    starts = torch.zeros(shape[0] + 1, dtype=torch.int64, device=rows.device)
    starts[1:] = torch.bincount(rows, minlength=shape[0]).cumsum(0)
    with warnings.catch_warnings():  # torch calls the layout beta, once a process
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(starts, cols[order], values[order], shape, check_invariants=False)
