"""The sparsity table as people read it, from a record's result; not measured is never a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.rows import BASELINE
from bench.tables import footnotes, mebibytes, ratio

__all__ = ["print_sparsity"]

_COLUMNS = ("kept", "share", "energy kept", "rows", "columns", "ms a step", "speed vs full", "peak", "vs full", "state")


def print_sparsity(console: Console, title: str, result: Mapping[str, Any]) -> None:
    """Table and footnotes on ``console``."""
    table = Table(title=Text(title), title_justify="left", pad_edge=False)
    table.add_column("method", no_wrap=True)
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for row in result["rows"]:
        table.add_row(*(Text(cell) for cell in cells(row)))
    # Lines too long for a narrow terminal run on; a figure is never cut.
    needed = console.measure(table, options=console.options.update(max_width=1000)).maximum
    console.width = max(console.width, needed)
    console.print(table)
    for note in (*_notes(result), *footnotes(result)):
        console.print(Text(note), soft_wrap=True)


def cells(row: Mapping[str, Any]) -> list[str]:
    """One row, a word a column."""
    if row["step_ms"] is None:
        timed = [row["status"], ""]
    else:
        itself = row["method"] == BASELINE and row["ratio_to_full"] is not None
        timed = [f"{row['step_ms']:.1f}", "1" if itself else ratio(row["ratio_to_full"], row["verdict"])]
    peak = "n/a" if row["peak_bytes"] is None else mebibytes(row["peak_bytes"])
    beside = "n/a" if row["peak_ratio_to_full"] is None else f"{row['peak_ratio_to_full']:.2f}x"
    state = "n/a" if row["state_bytes"] is None else mebibytes(row["state_bytes"])
    return [row["of_method"], *_kept(row), *timed, peak, beside, state]


def _kept(row: Mapping[str, Any]) -> list[str]:
    energy = row["energy"]
    if row["kept"] is None:
        return [""] * 5
    if energy is None:
        return [row["kept"], *["n/a"] * 4]
    held = energy["energy_share"]
    span = f"{held['mean']:.3f} ({held['least']:.3f} to {held['most']:.3f})"
    touched = [_share(energy[f"{side}_touched_share"]) for side in ("rows", "columns")]
    return [row["kept"], _share(energy["kept_share"]), span, *touched]


def _share(share: float) -> str:
    return f"{100 * share:.3g}%"


def _notes(result: Mapping[str, Any]) -> list[str]:
    batches = {row["energy"]["batches"] for row in result["rows"] if row["energy"] is not None}
    told = [
        f"energy kept: share of the squared norm of dL/dW that the kept entries hold, mean over layers (least to most) "
        f"and {count} training batches at the starting weights, {result['workload']['weights']}."
        for count in sorted(batches)
    ]
    if told:
        told.append("rows, columns: of the gradient as the method sees it, that hold a kept entry; mean over layers.")
    return [*told, "state: what the optimizer keeps from step to step."]
