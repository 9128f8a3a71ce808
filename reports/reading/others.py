"""The key figures of a record of any kind, known here or not: the numbers that stand near its top."""

from __future__ import annotations

import math
from typing import Any

from eval.mtbench.hostile import well_formed

__all__ = ["key_figures"]

_MOST = 12
_FLOORS = 2


def key_figures(result: dict[str, Any]) -> list[tuple[str, float | int]]:
    """(dotted name, number) of the first dozen finite numbers within two floors of the result, lists left out."""
    found: list[tuple[str, float | int]] = []
    _walk(result, "", _FLOORS, found)
    return found


def _walk(told: dict[str, Any], place: str, floors: int, found: list[tuple[str, float | int]]) -> None:
    for name, value in told.items():
        if len(found) == _MOST:
            return
        dotted = f"{place}{well_formed(str(name))}"
        if isinstance(value, dict) and floors:
            _walk(value, f"{dotted}.", floors - 1, found)
        elif isinstance(value, int | float) and not isinstance(value, bool) and _finite(value):
            found.append((dotted, value))


def _finite(value: float | int) -> bool:
    """Also of whole numbers beyond any float."""
    return -1e300 < value < 1e300 and math.isfinite(value)
