"""Which entries the energy stands in: how a support moves, and how many rows and columns cover it.

A support is its places: distinct flat indices, row * columns + column.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparsegrad.core import strongest
from sparsegrad.products import row_cover
from sparsegrad.support import top_k

__all__ = ["Cover", "cover", "in_core", "jaccard", "largest", "overlap"]


def largest(g_OI: Tensor, kept: int) -> Tensor:
    """The places of the ``kept`` entries that dynamic support would choose, ascending: (kept,) int64."""
    at = top_k(g_OI, kept).indices()
    return at[0] * g_OI.shape[1] + at[1]


def in_core(energy_OI: Tensor, core: tuple[int, int], kept: int) -> Tensor:
    """The ``kept`` places with the most energy among the leading r rows and c columns, ascending, of the whole
    matrix: (kept,) int64."""
    rows, cols = core
    places = strongest(energy_OI[:rows, :cols], kept).long()
    return places // cols * energy_OI.shape[1] + places % cols


def overlap(a: Tensor, b: Tensor) -> float:
    """The share of ``a`` that is in ``b``; two random supports of k in N places would share k / N."""
    return float(torch.isin(a, b).double().mean())


def jaccard(a: Tensor, b: Tensor) -> float:
    """Places in both over places in either: 1 for equal supports, 0 for disjoint ones."""
    both = int(torch.isin(a, b).sum())
    return both / (len(a) + len(b) - both)


@dataclass(frozen=True, kw_only=True)
class Cover:
    """Lines of the matrix that hold a support."""

    rows_touched: int
    """Rows with a place of the support."""
    columns_touched: int
    """Columns with a place."""
    cover_rows: int
    """Rows and, with ``cover_columns``, columns that cover the support, chosen for the cheapest write-back."""
    cover_columns: int
    """The columns of it."""
    least_cover: int
    """The fewest rows and columns together that cover it: the size of a maximum matching (Konig 1931), and a bound on
    the rank of whatever stands there."""


def cover(places: Tensor, shape: tuple[int, int]) -> Cover:
    """What covers ``places`` of an (O, I) matrix."""
    rows, cols = places // shape[1], places % shape[1]
    order, taken = row_cover(rows, cols, shape)
    outside = ~torch.isin(rows, order[:taken])
    return Cover(
        rows_touched=len(rows.unique()),
        columns_touched=len(cols.unique()),
        cover_rows=taken,
        cover_columns=len(cols[outside].unique()),
        least_cover=_matching(rows, cols, shape),
    )


def _matching(rows: Tensor, cols: Tensor, shape: tuple[int, int]) -> int:
    """The size of a maximum matching of rows and columns that meet in a place."""
    import numpy as np
    from scipy.sparse import coo_array, csr_matrix
    from scipy.sparse.csgraph import maximum_bipartite_matching

    at = (rows.cpu().numpy(), cols.cpu().numpy())
    graph = csr_matrix(coo_array((np.ones(len(rows), dtype=np.int8), at), shape=shape))
    return int((maximum_bipartite_matching(graph) >= 0).sum())
