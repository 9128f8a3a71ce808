"""How the energy of one gradient matrix (its squared entries) is spread: over entries, and towards the leading core.

Legend: O outputs, I inputs of the linear; places are flat indices, row * I + column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["BINS", "KEPT_SHARES", "Concentration", "concentration", "core_shares", "held_share", "histogram"]

KEPT_SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Where the curve of energy against kept entries is read."""
BINS = tuple(half / 2 for half in range(-12, 7))
"""Edges of the histogram: log10 of magnitude over root mean square."""


@dataclass(frozen=True, kw_only=True)
class Concentration:
    """Of one matrix. Shares are 0 to 1; None: all entries are zero, so that there is no energy to share."""

    energy_share: float | None
    """Of the ``kept`` largest entries."""
    curve: list[float] | None
    """The same for each of ``KEPT_SHARES``."""
    significant_90_share: float | None
    """The fewest entries that hold 90% of the energy, of all."""
    significant_99_share: float | None
    """... 99%."""
    flatness: float | None
    """(sum g^2)^2 / (N sum g^4), the participation ratio: 1 where all entries are equal, 1/N where one is not zero."""
    nonzero_share: float
    """Entries that are not exactly zero."""
    zero_row_share: float
    """Rows (outputs) wholly zero."""
    zero_column_share: float
    """Columns (inputs) wholly zero."""


def concentration(g_OI: Tensor, kept: int) -> Concentration:
    """Read a matrix, (O, I) of any floating dtype, summed in float64; ``kept``: 1 to O * I entries."""
    nonzero = g_OI != 0
    squares = g_OI.to(torch.promote_types(g_OI.dtype, torch.float32)).square().reshape(-1)
    held = squares.sort(descending=True).values.cumsum(0, dtype=torch.float64)
    total, entries = float(held[-1]), len(held)
    counts = [max(1, round(share * entries)) for share in KEPT_SHARES]
    known = total > 0
    return Concentration(
        energy_share=float(held[kept - 1]) / total if known else None,
        curve=[float(held[count - 1]) / total for count in counts] if known else None,
        significant_90_share=_fewest(held, 0.9) if known else None,
        significant_99_share=_fewest(held, 0.99) if known else None,
        flatness=_flatness(squares) if known else None,
        nonzero_share=float(nonzero.double().mean()),
        zero_row_share=float((~nonzero.any(dim=1)).double().mean()),
        zero_column_share=float((~nonzero.any(dim=0)).double().mean()),
    )


def _fewest(held: Tensor, share: float) -> float:
    """The least count whose cumulative energy reaches the share, of all entries."""
    count = int((held < share * held[-1]).sum()) + 1
    return min(count, len(held)) / len(held)


def _flatness(squares: Tensor) -> float:
    """Scaled by the largest first: fourth powers of small gradients would vanish in single precision."""
    scaled = squares.double() / squares.max().double()
    return float(scaled.sum() ** 2 / (len(scaled) * scaled.square().sum()))


def held_share(g_OI: Tensor, places: Tensor) -> float | None:
    """The share of the energy at ``places`` (distinct flat indices); None where there is none."""
    squares = g_OI.reshape(-1).double().square()
    total = float(squares.sum())
    return float(squares[places].sum()) / total if total > 0 else None


def core_shares(g_OI: Tensor, cores: Sequence[tuple[int, int]]) -> list[float] | None:
    """The share of the energy in the leading r rows and c columns, for each (r, c); None where there is none."""
    squares = g_OI.double().square()
    total = float(squares.sum())
    return [float(squares[:rows, :cols].sum()) / total for rows, cols in cores] if total > 0 else None


def histogram(g_OI: Tensor) -> list[float] | None:
    """Share of all entries in each bin of log10(|g| / rms) between ``BINS``; the two outer bins take what is beyond
    them, exact zeros among the lowest. None where all entries are zero."""
    magnitude = g_OI.reshape(-1).double().abs()
    rms = magnitude.square().mean().sqrt()
    if not float(rms) > 0:
        return None
    edges = torch.tensor(BINS[1:-1], dtype=torch.float64, device=magnitude.device)
    at = torch.bucketize((magnitude / rms).log10(), edges, right=True)
    shares: list[float] = (torch.bincount(at, minlength=len(BINS) - 1).double() / len(magnitude)).tolist()
    return shares
