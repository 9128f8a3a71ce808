"""Which entries of a gradient live: dynamic support, the k largest of a step."""

from __future__ import annotations

import math
from numbers import Integral, Real

import torch
from torch import Tensor

from .dataless import is_dataless
from .errors import SparseGradError
from .products import coalesced_coo

# A strided sample estimates the k-th magnitude; only what passes it is ranked. Below this many entries one plain
# top-k is as quick. Sizes chosen on a 768 x 3072 layer: 44 ms for torch.topk over all entries, 5 ms this way.
_SAMPLED_FROM = 1 << 16
_SAMPLE = 1 << 14


def resolve_kept(kept: int | float, entries: int, *, layer: str = "the layer") -> int:
    """``kept`` as a number of entries: a count (int, 1..entries) or a share (float, 0 < share <= 1).

    Raises:
        SparseGradError: outside these ranges, or neither int nor float.
    """
    if isinstance(kept, bool) or not isinstance(kept, Real):
        raise SparseGradError(f"kept={kept!r}: give a count such as 22_000 or a share such as 0.01")
    if isinstance(kept, Integral):
        if not 1 <= kept <= entries:
            raise SparseGradError(f"kept={kept} entries of {layer}, which has {entries}: give 1 to {entries}")
        return int(kept)
    if not 0.0 < kept <= 1.0:
        raise SparseGradError(f"kept={kept} is not a share above 0 and up to 1.0; for a count give an int")
    return max(1, round(kept * entries))


def top_k(dense: Tensor, k: int) -> Tensor:
    """The k entries of a matrix that are largest in magnitude, as coalesced COO of the same shape and dtype.

    Exactly k entries, also among ties (which of equals stay is torch.topk's choice) and also where fewer than k are
    nonzero (explicit zeros then). NaN ranks above all, so that nothing hides it from a gradient scaler or a norm.
    """
    flat = dense.reshape(-1)
    kept = _largest(flat.abs(), k, stride=_stride(*dense.shape))
    indices = torch.stack((kept // dense.shape[1], kept % dense.shape[1]))
    return coalesced_coo(indices, flat[kept], tuple(dense.shape))


def _stride(rows: int, cols: int) -> int:
    """Distance of the sampled entries: coprime with the row length, so that every column has its share of them.

    A rotated gradient crowds into the leading columns. A stride that shares a divisor d with the row length sees each
    d-th column alone, the heaviest among them, d times too often: its threshold is too high, and all is ranked.
    """
    stride = max(1, rows * cols // _SAMPLE)
    while math.gcd(stride, cols) > 1:
        stride -= 1
    return stride


def _largest(magnitude: Tensor, k: int, *, stride: int) -> Tensor:
    """Indices of the k largest of a vector, ascending. A sampled threshold first, corrected where it was too high."""
    entries = len(magnitude)
    if not (magnitude.is_cuda or entries < _SAMPLED_FROM or k * 4 > entries or is_dataless(magnitude)):
        sample = magnitude[::stride]
        # The sample's count above the true threshold is about binomial: aim five deviations beyond k's share, so that
        # fewer than k survivors (then everything is ranked) is rare.
        share = k / entries * len(sample)
        rank = min(len(sample), math.ceil(share + 5 * math.sqrt(share) + 1))
        threshold = sample.topk(rank, sorted=False).values.min()
        survivors = (magnitude < threshold).logical_not_().nonzero().squeeze(1)  # with NaN
        if k <= len(survivors) < entries:
            stays = torch.zeros(len(survivors), dtype=torch.bool, device=magnitude.device)
            stays[magnitude[survivors].topk(k, sorted=False).indices] = True
            return survivors[stays]
    return magnitude.topk(k, sorted=False).indices.sort().values
