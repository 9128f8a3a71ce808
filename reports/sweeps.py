"""Drawings of what was swept or taken apart: speed over kept entries, energy over kept entries, memory by category.

A record whose part for the drawing cannot be read has a line that says so in the drawing's place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import wraps
from statistics import fmean
from typing import ParamSpec

from bench.gradients.energy import KEPT_SHARES
from bench.rows import BASELINE
from reports.document import Block, Figure, Prose
from reports.figures.curves import Line, curves
from reports.figures.marks import Axis, Estimate
from reports.figures.memory import Bar, memory_by_category
from reports.reading.fields import Fields, Unreadable
from reports.reading.gradients import GradientRun
from reports.reading.memory import PeakGroup
from reports.reading.settings import model_called
from reports.reading.speed import SpeedRun

__all__ = ["category_blocks", "energy_blocks", "sparsity_blocks"]

_KEPT = Axis(name="entries kept", unit="share of a layer", log=True)
P = ParamSpec("P")


def _or_a_line(draw: Callable[P, list[Figure]]) -> Callable[P, list[Block]]:
    """What the drawing is, or why there is none."""

    @wraps(draw)
    def drawn(*args: P.args, **words: P.kwargs) -> list[Block]:
        try:
            return [*draw(*args, **words)]
        except Unreadable as error:
            return [Prose(text=f"Not drawn: {error}", warning=True)]

    return drawn


@_or_a_line
def energy_blocks(run: GradientRun, id: str) -> list[Figure]:
    """A drawing a role: the share of the squared norm that the largest entries hold, a line a space."""
    found: dict[str, dict[str, list[tuple[float, ...]]]] = defaultdict(lambda: defaultdict(list))
    for row in Fields.of(run.record.result).each("rows"):
        if not (curve := row.numbers("curve")):
            continue  # all of the gradient's entries were zero
        if len(curve) != len(KEPT_SHARES):
            raise Unreadable(f"{row.place}.curve: {len(KEPT_SHARES)} shares expected, got {len(curve)}")
        found[row.text("role")][row.text("space")].append(curve)
    return [
        curves(
            f"{id}-{number}",
            f"Gradient energy, {role}, {model_called(run.record)}",
            [_mean_line(space, read) for space, read in spaces.items()],
            across=_KEPT,
            upward=Axis(name="share of squared norm", higher_is_better=True, note=_many(list(spaces.values()))),
        )
        for number, (role, spaces) in enumerate(found.items(), 1)
    ]


def _mean_line(space: str, read: Sequence[tuple[float, ...]]) -> Line:
    means = (Estimate(value=fmean(values)) for values in zip(*read, strict=True))
    return Line(name=space, at=tuple(KEPT_SHARES), values=tuple(means))


def _many(groups: Sequence[Sequence[object]]) -> str:
    counts = sorted({len(group) for group in groups})
    return f"mean of n = {' or '.join(map(str, counts))} gradients"


@_or_a_line
def sparsity_blocks(run: SpeedRun, id: str) -> list[Figure]:
    """Speed over full against the entries kept, a line a method; nothing where no row tells both."""
    points: dict[str, list[tuple[float, Estimate]]] = defaultdict(list)
    for row in Fields.of(run.record.result).each("rows"):
        energy, ratio = row.inside_or_none("energy"), run.speed(row.text("method"))
        if energy is not None and ratio is not None:
            points[row.text("of_method")].append((energy.at_least("kept_share", 1e-12), Estimate.of(ratio)))
    if not points:
        return []
    lines = [_line(name, sorted(own, key=lambda point: point[0])) for name, own in points.items()]
    rounds = max(len(row.samples_ms) for row in run.rows.values())
    upward = Axis(
        name=f"speed over {BASELINE}",
        unit="x",
        log=True,
        higher_is_better=True,
        note=f"95% CI, n = {rounds} paired rounds",
    )
    return [curves(id, f"Speed over kept entries, {model_called(run.record)}", lines, across=_KEPT, upward=upward)]


def _line(name: str, points: Sequence[tuple[float, Estimate]]) -> Line:
    return Line(name=name, at=tuple(at for at, _ in points), values=tuple(value for _, value in points))


@_or_a_line
def category_blocks(group: PeakGroup, id: str) -> list[Figure]:
    """What is alive at the peak; nothing where no record was taken apart."""
    bars, instruments = [], set()
    for name, peak in group.peaks.items():
        fields = Fields.of(peak.record.result)
        if (at_peak := fields.inside_or_none("at_peak")) is not None:
            parts = at_peak.table("by_category_bytes")
            bars.append(Bar(name=name, parts_bytes={part: round(amount) for part, amount in parts.items()}))
            instruments.add(fields.text("attribution_instrument"))
    if not any(bar.parts_bytes for bar in bars):
        return []
    title = f"What is alive at the peak, {model_called(group.record)}"
    return [memory_by_category(id, title, bars, instrument=", ".join(sorted(instruments)))]
