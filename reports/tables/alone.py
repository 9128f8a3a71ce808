"""Fine-tuned methods that stand alone in their setting: a score each, and nothing to pair it with."""

from __future__ import annotations

from collections.abc import Sequence

from reports.behind import behind, noted
from reports.document import Cell, Table
from reports.reading.quality import Comparison
from reports.reading.settings import setting_of
from reports.tables.cells import MIB, amount, count_cell, failure, label, number_column, text_column
from reports.tables.quality import reasons, score_cell

__all__ = ["alone_table"]


def alone_table(several: Sequence[Comparison], id: str) -> Table:
    """One row a metric, split and setting: the levels of a sweep, or what was run by itself."""
    return Table(
        id=id,
        title="Quality of methods with none beside them in the same setting",
        columns=(
            text_column("setting"),
            text_column("method"),
            text_column("split"),
            text_column("metric"),
            number_column("score", "points", "mean over seeds, with their standard deviation"),
            number_column("rate"),
            number_column("seeds"),
            number_column("updated", "parameters a step"),
            number_column("peak", "MiB"),
        ),
        rows=tuple(row for one in several for row in _rows(one)),
        notes=(
            "Nothing to compare here: the levels of a sweep are compared in its own table.",
            *noted(run.source for one in several for own in one.runs.values() for run in own),
        ),
    )


def _rows(one: Comparison) -> list[tuple[Cell, ...]]:
    made: list[tuple[Cell, ...]] = []
    for row in one.rows(one.reference()):
        sources = [run.source for run in one.runs[row["method"]]]
        own = behind(sources)
        for name, told in row["metrics"].items():
            made.append(
                (
                    label(setting_of(one.record)),
                    label(row["method"]),
                    label(row["split"]),
                    label(name),
                    score_cell(told, f"{row['method']}: {name}, by seed", sources)
                    if row["seeds"]
                    else failure(row["status"], reasons(row)),
                    amount(row["lr"], "g", detail=own),
                    amount(len(row["seeds"]), ",.0f"),
                    count_cell(row["updated_parameters"], detail=own),
                    amount(None if row["peak_bytes"] is None else row["peak_bytes"] / MIB, ",.1f", detail=own),
                )
            )
    return made
