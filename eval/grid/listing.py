"""What the grid tells: its cells with their keys, how each ended, what it scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.record import Record, Status
from eval.campaign import Finished
from eval.grid.plan import Plan
from eval.mtbench.hostile import one_line

__all__ = ["listed", "print_cells", "rows_of"]

# Of a failure's reason, in characters: a library's message may quote whatever it was given.
_REASON = 400


def listed(plan: Plan, finished: Sequence[Finished]) -> dict[str, tuple[str, Record]]:
    """Key -> name and record of every trial and run."""
    told: dict[str, tuple[str, Record]] = {}
    for one in finished:
        before, entry = plan.named(one.entry), one.entry
        for cell, record in one.trials:
            told[record.key] = (before + cell.name, record)
        for cell, record in zip(entry.runs(one.trials), one.runs, strict=True):
            told[record.key] = (before + cell.name, record)
    return told


def rows_of(told: Mapping[str, tuple[str, Record]]) -> list[dict[str, Any]]:
    """JSON types, a cell each. `score`: the task's headline metric, of its first split."""
    return [
        {
            "key": key,
            "name": name,
            "status": str(record.status),
            "reason": record.reason,
            "score": next(iter(record.result["splits"].values()))["headline"] if record.status is Status.OK else None,
            "train_s": record.result["train_s"] if record.status is Status.OK else None,
            "host": record.environment["host"],
        }
        for key, (name, record) in told.items()
    ]


def print_cells(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table of the cells, and under it why those failed that did."""
    table = Table(title_justify="left", pad_edge=False)
    for name in ("key", "cell", "status"):
        table.add_column(name, no_wrap=True)
    for name in ("score", "training"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        good = row["score"] is not None
        figures = (f"{100 * row['score']:.1f}", f"{row['train_s']:.0f} s") if good else ("n/a", "n/a")
        table.add_row(*map(Text, (row["key"], row["name"], row["status"], *figures)))
    # Lines too long for a narrow terminal run on; a key is never cut.
    console.width = max(console.width, console.measure(table, options=console.options.update(max_width=1000)).maximum)
    console.print(table)
    console.print(Text("score: points (x 100) of the task's metric; training: seconds of all updates."))
    for row in rows:
        if row["reason"] is not None:
            console.print(Text(one_line(f"{row['key']} {row['status']}: {row['reason']}", _REASON)), soft_wrap=True)
