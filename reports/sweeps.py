"""Drawings of what was swept or taken apart: speed over kept entries, memory by category and by layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from bench.rows import BASELINE
from reports.document import Block, Figure
from reports.drawn import or_a_line
from reports.figures.curves import Line, curves
from reports.figures.marks import Axis, Estimate
from reports.figures.memory import Bar, memory_by_category
from reports.reading.fields import Fields
from reports.reading.memory import PeakGroup
from reports.reading.settings import workload_of
from reports.reading.speed import SpeedRun
from reports.tables.memory import Alive, largest_table

__all__ = ["category_blocks", "sparsity_blocks"]

_KEPT = Axis(name="entries kept", unit="share of a layer", log=True)


@or_a_line
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
    return [curves(id, f"Speed over kept entries: {workload_of(run.record)}", lines, across=_KEPT, upward=upward)]


def _line(name: str, points: Sequence[tuple[float, Estimate]]) -> Line:
    return Line(name=name, at=tuple(at for at, _ in points), values=tuple(value for _, value in points))


@or_a_line
def category_blocks(group: PeakGroup, id: str) -> list[Block]:
    """What is alive at the peak, and in which layers and roles; nothing where no record was taken apart."""
    bars, instruments, alive = [], set(), []
    for name, peak in group.peaks.items():
        fields = Fields.of(peak.record.result)
        if (at_peak := fields.inside_or_none("at_peak")) is not None:
            parts = at_peak.table("by_category_bytes")
            bars.append(Bar(name=name, parts_bytes={part: round(amount) for part, amount in parts.items()}))
            instruments.add(fields.text("attribution_instrument"))
            alive += [
                Alive(source=peak.source, method=name, what=what, name=row.text(what), nbytes=row.number("bytes"))
                for what in ("layer", "role")
                for row in at_peak.each(f"by_{what}")
            ]
    if not any(bar.parts_bytes for bar in bars):
        return []
    named = workload_of(group.record)
    title = f"What is alive at the peak: {named}"
    drawn: list[Block] = [memory_by_category(id, title, bars, instrument=", ".join(sorted(instruments)))]
    return [*drawn, largest_table(alive, f"{id}-largest", named)] if alive else drawn
