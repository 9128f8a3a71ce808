"""The readings as people read them: a row a role and space, then what the stripes are; not measured is n/a."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.calibration import doubt
from bench.record import Record, Status
from bench.tables import mebibytes

__all__ = ["notes", "print_preliminary", "print_readings"]

Row = Mapping[str, Any]
# The rest follow from the first two and the last.
_STEPS_TOLD = 10


def print_readings(console: Console, title: str, result: Row, kept: str) -> None:
    """Table and notes on ``console``; ``kept`` in words."""
    table = Table(title=Text(title), title_justify="left", pad_edge=False)
    table.add_column("linear", no_wrap=True)
    table.add_column("space", no_wrap=True)
    columns = {
        f"energy in {kept}: of the step": "energy_share",
        "fixed": "fixed_energy_share",
        "fixed in core": "fixed_in_core_energy_share",
        "entries for 90%": "significant_90_share",
        "for 99%": "significant_99_share",
        "flatness": "flatness",
        "overlap: step before": "jaccard_step_before",
        "calibration": "jaccard_calibration",
    }
    for name in (*columns, "rows + columns", "least cover"):
        table.add_column(name, justify="right")
    for row in result["summary"]["gradients"]:
        cells = [_cell(row[name], blocks=name == "energy_share") for name in columns.values()]
        lines = f"{_count(row['cover_rows'])} + {_count(row['cover_columns'])}"
        table.add_row(*map(Text, (row["role"], row["space"], *cells, lines, _count(row["least_cover"]))))
    _print(console, table, notes(result))


def notes(result: Row) -> list[str]:
    """What the columns mean, what the spaces are, and the stripes."""
    spaces = "; ".join(f"{name}: {summary}" for name, summary in result["spaces"].items())
    first = result["summary"]["gradients"][0]
    told = [
        f"Means over {first['blocks']} blocks and {first['readings']} readings (steps "
        f"{_listed(result['readings'])}); [least, most block].",
        f"spaces: {spaces}.",
        "energy: share of the squared gradient norm. of the step: its own largest entries; fixed: entries chosen from "
        "calibration energy; in core: those of the leading rows and columns alone.",
        "flatness: (sum g^2)^2 / (N sum g^4), 1 where all entries are equal. overlap: Jaccard index of supports. "
        "rows + columns: a cover of the step's support, the cheapest to write back; least cover: the fewest lines.",
    ]
    return told + [_stripes(row) for row in result["summary"]["stripes"]]


def _listed(steps: Sequence[int]) -> str:
    told = [*map(str, steps)]
    return ", ".join(told if len(told) <= _STEPS_TOLD else [*told[:2], "...", told[-1]])


def _stripes(row: Row) -> str:
    told = f"dL/dY of {row['role']}: {_cell(row['zero_row_share'])} of the rows are exactly zero"
    if row["zero_rows_that_are_padding_share"]["mean"] is not None:
        padding = _cell(row["zero_rows_that_are_padding_share"])
        told += f" (of these {padding} padding; of the padding {_cell(row['padding_that_is_zero_share'])} zero)"
    columns = f"{_cell(row['zero_column_share'])} of the columns, {_cell(row['rotated_zero_column_share'])} after V"
    return f"{told}; {columns}."


def print_preliminary(console: Console, title: str, records: Mapping[str, Record], llama: Row) -> None:
    """What each way cost, and what the stack would take at LLaMA's shape; of an invalid one why, and its raw times."""
    table = Table(title=Text(title), title_justify="left", pad_edge=False)
    for name in ("way", "batches", "time", "peak of tensors", "of which model", "one role's stack, fp32", "how"):
        table.add_column(name, justify="left" if name in ("way", "how") else "right", no_wrap=True)
    for mode, record in records.items():
        table.add_row(*map(Text, (mode, *_way(mode, record))))
    stack = mebibytes(max(llama["stack_bytes_by_role"].values()))
    table.add_row(
        *map(Text, (f"stacked, {llama['model']}", str(llama["steps"]), "n/a", "n/a", "", stack, llama["how"]))
    )
    _print(console, table, _preliminary_notes(records))


def _way(mode: str, record: Record) -> list[str]:
    """The cells of one way behind its name."""
    told = record.result
    if "how" not in told:
        return [""] * 5 + [f"{record.status}: {record.reason}"]
    seconds = "n/a" if told["calibration_s"] is None else f"{told['calibration_s']:.1f} s"
    if record.status is Status.INVALID:
        seconds = str(record.status)
    peak = "n/a" if told["peak_bytes"] is None else mebibytes(told["peak_bytes"])
    stack = mebibytes(max(told["stack_bytes_by_role"].values())) if mode == "stacked" else ""
    return [str(told["steps"]), seconds, peak, mebibytes(told["model_bytes"]), stack, told["how"]]


def _preliminary_notes(records: Mapping[str, Record]) -> list[str]:
    notes = [
        "time: each way is made once: no interval, and no ratio is taken between them.",
        "peak: tracked live tensor storages, model included; not what a decomposition's routine uses inside.",
    ]
    for mode, record in records.items():
        if record.status is Status.INVALID:
            raw = " ".join(f"{spent:.4g}" for spent in record.result["batches_s"])
            notes.append(f"{mode}: {record.status}: {record.reason} (--drift note prints its time all the same)")
            notes.append(f"{mode}, s a batch: {raw}; then {record.result['finish_s']:.4g}")
        elif (why := doubt(record.result)) is not None:
            notes.append(f"not to be trusted, {mode}: {why}.")
    return notes


def _cell(spread: Row, *, blocks: bool = False) -> str:
    if spread["mean"] is None:
        return "n/a"
    told = f"{spread['mean']:.2g}" if 0 < spread["mean"] < 0.01 else f"{spread['mean']:.2f}"
    return f"{told} [{spread['least_block']:.2f}, {spread['most_block']:.2f}]" if blocks else told


def _count(spread: Row) -> str:
    return "n/a" if spread["mean"] is None else f"{spread['mean']:.0f}"


def _print(console: Console, table: Table, lines: Sequence[str]) -> None:
    # Lines too long for a narrow terminal run on; a figure is never cut.
    needed = console.measure(table, options=console.options.update(max_width=1000)).maximum
    console.width = max(console.width, needed)
    console.print(table)
    for line in lines:
        console.print(Text(line), soft_wrap=True)
