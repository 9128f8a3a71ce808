"""How fast the singular values of the stacked gradients fall, in both modes: what a basis has to go on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparsegrad import Bases

__all__ = ["decay", "falling", "ranks_of"]

_POINTS = 48


def decay(bases: Bases) -> dict[str, dict[str, Any]]:
    """Role or linear -> ``{"in": ..., "out": ...}`` (see ``falling``); a mode that was not made is left out."""
    return {
        key: {
            mode: falling(values)
            for mode, values in (("in", basis.singular_in), ("out", basis.singular_out))
            if values is not None
        }
        for key, basis in bases.table.items()
    }


def falling(singular: Tensor) -> dict[str, Any]:
    """A spectrum, (n,) by falling value, for a record: ``ranks`` from 1 on and the ``relative`` values there, to the
    largest; ``rank_90`` and ``rank_99``: the fewest vectors that hold so much of the squared sum. None for no energy.
    """
    squared = singular.double().square()
    held, largest, ranks = squared.cumsum(0), float(singular[0]), ranks_of(len(singular))
    known = largest > 0
    return {
        "size": len(singular),
        "ranks": ranks,
        "relative": [float(singular[rank - 1]) / largest for rank in ranks] if known else None,
        "rank_90": _fewest(held, 0.9) if known else None,
        "rank_99": _fewest(held, 0.99) if known else None,
    }


def ranks_of(size: int) -> list[int]:
    """About fifty ranks from 1 to ``size``, evenly apart on a log scale."""
    exponents = torch.linspace(0, 1, _POINTS, dtype=torch.float64)
    return sorted({round(size ** float(exponent)) for exponent in exponents})


def _fewest(held: Tensor, share: float) -> int:
    return min(int((held < share * held[-1]).sum()) + 1, len(held))
