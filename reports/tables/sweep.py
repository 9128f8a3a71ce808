"""Quality over kept entries as a table and a drawing."""

from __future__ import annotations

from reports.behind import behind
from reports.document import Cell, Figure, Samples, Table
from reports.figures.curves import Line, curves
from reports.figures.marks import Axis, Estimate
from reports.reading.settings import model_called
from reports.reading.sweep import Level, Sweep
from reports.tables.cells import absent, amount, label, number_column, text_column
from reports.tables.quality import AS_FILED, difference_cell

__all__ = ["sweep_figure", "sweep_table"]


def sweep_table(sweep: Sweep, id: str) -> Table:
    """Every level beside dense, and where quality begins to degrade."""
    notes = [*sweep.sentences, "Differences to dense, paired by item and seed; verdicts by Holm over the whole sweep."]
    if sweep.synthetic:
        notes.append("Synthetic text: no verdict on the paper.")
    if sweep.as_filed:
        notes.append(AS_FILED)
    return Table(
        id=id,
        title=f"Quality over kept entries, {model_called(sweep.record)}",
        columns=(
            text_column("task"),
            text_column("split"),
            text_column("method"),
            text_column("kept"),
            number_column("share", "%"),
            number_column("score", "points"),
            number_column("minus dense", "points", "95% CI; ~: a tie"),
        ),
        rows=tuple(_row(sweep, level) for level in sweep.levels),
        notes=tuple(notes),
    )


def _row(sweep: Sweep, level: Level) -> tuple[Cell, ...]:
    own = behind([sweep.source], [Samples(name="minus dense, by seed", unit="points",
                                          values=tuple(100 * value for value in level.by_seed))])  # fmt: skip
    difference = absent("dense itself, or nothing to pair")
    if level.difference is not None:
        difference = difference_cell(level.difference, level.low, level.high, tie=level.verdict == "~", detail=own)
    return (
        label(level.task),
        label(level.split),
        label(level.method),
        label(level.kept),
        amount(100 * level.share, ".3g", detail=own),
        amount(None if level.mean is None else 100 * level.mean, ".1f", detail=own),
        difference,
    )


def sweep_figure(sweep: Sweep, id: str) -> Figure | None:
    """The difference to dense over the share kept, a line a task and method; None where nothing pairs."""
    points: dict[str, list[Level]] = {}
    for level in sweep.levels:
        if level.difference is not None and level.share > 0:
            points.setdefault(f"{level.task} {level.split}, {level.method}", []).append(level)
    lines = [_line(name, sorted(own, key=lambda level: level.share)) for name, own in points.items()]
    if not lines:
        return None
    across = Axis(name="entries kept", unit="%", log=True)
    upward = Axis(name="points minus those of dense", higher_is_better=True, note="95% CI")
    return curves(id, f"Quality over kept entries, {model_called(sweep.record)}", lines, across=across, upward=upward)


def _line(name: str, levels: list[Level]) -> Line:
    return Line(name=name, at=tuple(100 * level.share for level in levels), values=tuple(map(_estimate, levels)))


def _estimate(level: Level) -> Estimate:
    """In points; a damaged interval that does not hold its value is left out."""
    value = 100 * (level.difference or 0.0)
    low, high = (None if end is None else 100 * end for end in (level.low, level.high))
    if (low is not None and low > value) or (high is not None and high < value):
        low = high = None
    return Estimate(value=value, low=low, high=high)
