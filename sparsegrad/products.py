"""The products of the paper: sparse by dense, and what it leaves out.

Legend: B rows of A, C columns of A = rows of B, D columns of B; R and K rows and columns of A that hold a nonzero.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def nonzero_rows(a_BC: Tensor) -> Tensor:
    """Indices of the rows that hold a nonzero, ascending: (R,) int64. NaN counts as nonzero.

    Waits for the device (the number of rows is data).
    """
    return (a_BC != 0).any(dim=1).nonzero().squeeze(1)


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
