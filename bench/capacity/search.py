"""The largest size that fits, by doubling and bisection; where bytes are known, they say where to look first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Largest", "Probe", "largest"]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One size that was tried. ``peak_bytes``: None where it ran out of memory before it could be told."""

    size: int
    fits: bool
    peak_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Largest:
    """``size``: the largest that fits, None where not even the least does. ``probes``: in the order they were tried.

    ``at_limit``: True where ``most`` itself fits, so that something else than memory ended the search.
    """

    size: int | None
    at_limit: bool
    probes: list[Probe] = field(default_factory=list)


def largest(probe: Callable[[int], Probe], budget_bytes: int, *, least: int, most: int) -> Largest:
    """The largest size in least..most that fits, where whatever is larger than a misfit is a misfit too.

    Sizes double until one does not fit; then the gap between the largest fit and the least misfit is closed. Peaks grow
    almost linearly, so a line through the two last known ones says where to look; a guess that does not halve the gap
    is followed by its middle, so that no peak's shape costs more than twice the probes of plain bisection. The answer
    never rests on the line: the size itself fitted, and the next one did not.
    """
    tried = [probe(least)]
    low, high, halve = tried[0], None, False
    while low.fits and low.size < most and (high is None or high.size - low.size > 1):
        gap = (most + 1 if high is None else high.size) - low.size
        if high is None:
            size = _crossing(tried, budget_bytes) or 2 * low.size
        elif halve:
            size = low.size + gap // 2
        else:
            size = _crossing(tried, budget_bytes) or low.size + gap // 2
        size = min(max(size, low.size + 1), most if high is None else high.size - 1)
        tried.append(found := probe(size))
        low, high = (found, high) if found.fits else (low, found)
        left = (most + 1 if high is None else high.size) - low.size
        halve = not halve and left > gap / 2
    return Largest(size=low.size if low.fits else None, at_limit=low.fits and low.size == most, probes=tried)


def _crossing(tried: list[Probe], budget_bytes: int) -> int | None:
    """Where the line through the two known peaks nearest the budget crosses it; None where there is no such line."""
    known = [(p.size, p.peak_bytes) for p in tried if p.peak_bytes is not None]
    nearest = sorted(known, key=lambda at: abs(at[1] - budget_bytes))[:2]
    if len(nearest) < 2:
        return None
    (size, nbytes), (other, other_bytes) = nearest
    if (nbytes - other_bytes) * (size - other) <= 0:
        return None
    return max(1, size + (budget_bytes - nbytes) * (size - other) // (nbytes - other_bytes))
