"""A matrix small enough for a record and a page: the largest magnitude of each patch, so that what is zero stays so."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d

__all__ = ["MAP_CELLS", "STRIPE_CELLS", "patches"]

MAP_CELLS = (48, 48)
"""Rows and columns of a heat map, at most."""
STRIPE_CELLS = (128, 32)
"""Tokens and outputs of a picture of dL/dY, at most."""
_DIGITS = 3


def patches(g: Tensor, cells: tuple[int, int]) -> list[list[float]]:
    """The largest magnitude in each of at most ``cells`` patches, three significant digits."""
    shape = (min(cells[0], g.shape[0]), min(cells[1], g.shape[1]))
    pooled = adaptive_max_pool2d(g.abs().to(torch.float32)[None], shape)[0]
    return [[float(f"{value:.{_DIGITS}g}") for value in row] for row in pooled.tolist()]
