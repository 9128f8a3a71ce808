"""The speed table as people read it, from a record's result; not measured is never a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_MIB = 2**20


def print_speed(console: Console, title: str, result: Mapping[str, Any]) -> None:
    """Table and footnotes on ``console``."""
    table = Table(title=Text(title), title_justify="left", pad_edge=False)
    table.add_column("method", no_wrap=True)
    for name in ("steps/s", "speed vs full", "fwd + bwd + opt, ms", "peak", "vs full", "trainable", "updated", "setup"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in result["rows"]:
        table.add_row(*(Text(cell) for cell in _cells(row)))
    console.print(table)
    for note in footnotes(result):
        console.print(Text(note), soft_wrap=True)


def _cells(row: Mapping[str, Any]) -> list[str]:
    if row["steps_per_s"] is None:
        speed = [row["status"], "", ""]
    else:
        phases = " + ".join(f"{row[f'{phase}_ms']:.0f}" for phase in ("forward", "backward", "optimizer"))
        speed = [f"{row['steps_per_s']:.3g}", ratio(row["ratio_to_full"], row["verdict"]), phases]
    peak = [row["status"], ""] if row["peak_bytes"] is None else [mebibytes(row["peak_bytes"]), ""]
    if row["peak_ratio_to_full"] is not None:
        peak[1] = f"{row['peak_ratio_to_full']:.2f}x"
    counts = [count(row["trainable_parameters"]), count(row["updated_parameters"])]
    return [row["method"], *speed, *peak, *counts, _setup(row)]


def ratio(interval: Mapping[str, Any] | None, told: str | None = None) -> str:
    """``1.62x [1.58, 1.66]``; ``~`` before a difference inside the A/A noise; an unbounded interval says so."""
    if interval is None:
        return "n/a"
    high = "inf" if interval["high"] is None else f"{interval['high']:.2f}"
    mark = "~ " if told == "~" else ""
    return f"{mark}{interval['mean']:.2f}x [{interval['low']:.2f}, {high}]"


def mebibytes(amount: float) -> str:
    """``812 MiB``."""
    return f"{amount / _MIB:,.0f} MiB"


def count(number: int | None) -> str:
    """``7.1M``, ``70.8k``; n/a where not counted."""
    if number is None:
        return "n/a"
    for scale, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= scale:
            return f"{number / scale:.3g}{unit}"
    return str(number)


def _setup(row: Mapping[str, Any]) -> str:
    if row["calibration_s"] is None:
        return "n/a" if row["convert_s"] is None else f"{row['convert_s']:.1f} s"
    earned = "never" if row["break_even_steps"] is None else f"{row['break_even_steps']:,.0f} steps"
    return f"{row['calibration_s'] + (row['convert_s'] or 0):.1f} s, {earned}"


def footnotes(result: Mapping[str, Any]) -> list[str]:
    """What the figures mean, and the comparisons that do not fit into a column."""
    rows, aa = result["rows"], result["aa"]
    rounds = max((len(row["samples_ms"]) for row in rows), default=0)
    notes = [f"[low, high]: 95% CI of the ratio over {rounds} paired rounds. trainable, updated: parameters (a step)."]
    if aa is not None:
        notes.append(f"A/A: full against itself {ratio(aa)}; ~ marks what is not told apart from that.")
    notes.append(
        "setup: calibration and conversion, then the training steps after which they are earned back against full."
    )
    instruments = {row["peak_instrument"] for row in rows if row["peak_instrument"]}
    meaning = {"tracked": "tracked peak of live tensor storages (no GPU: not CUDA memory, not the process's size)"}
    notes += [f"peak: {meaning.get(name, name)}, each method in a fresh process." for name in sorted(instruments)]
    if result["calibration"] and result["calibration"]["peak_bytes"]:
        told = result["calibration"]
        notes.append(
            f"calibration: {told['calibration_s']:.1f} s for {told['steps']} batches, peak "
            f"{mebibytes(told['peak_bytes'])}."
        )
    if result["zero_row_share"] is not None:
        notes.append(f"zero rows of dL/dy (padding): {result['zero_row_share']:.3f} of all.")
    for row in rows:
        if (kept := row["kept_entries"]) is not None:
            span = f"{kept['least']:,} to {kept['most']:,}" if kept["least"] < kept["most"] else f"{kept['most']:,}"
            notes.append(f"{row['method']}: {span} entries kept a step in each of {kept['layers']} layers.")
    for pair in result["same_mathematics"]:
        notes.append(
            f"{pair['method']} over {pair['over']}: {ratio(pair['speed_ratio'])} the speed; losses within "
            f"{pair['largest_loss_difference']:.1e} over {pair['steps']} steps."
        )
    notes += [f"{row['method']}: {row['status']}: {row['reason']}" for row in rows if row["status"] != "ok"]
    return notes
