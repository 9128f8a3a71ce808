"""The table of a comparison as people read it: nats a reply token, below is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.tables import count, mebibytes
from eval.mtbench.hostile import one_line

__all__ = ["notes", "print_table"]

# Of a failure's reason, in characters: a library's message may quote whatever it was given.
_REASON = 400
_NAMES = ("valid loss", "p (Holm)", "could see", "trainable", "share", "updated", "adapter", "peak", "training")


def print_table(console: Console, title: str, result: Mapping[str, Any]) -> None:
    """The rows, then what the columns mean and what failed."""
    table = Table(title=Text(title), title_justify="left", pad_edge=False)
    table.add_column("method", no_wrap=True)
    names = (_NAMES[0], f"difference to {result['reference']}", *_NAMES[1:])
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for row in result["rows"]:
        table.add_row(*(Text(cell) for cell in _cells(row)))
    # A figure is never cut: lines too long for a narrow terminal run on.
    needed = console.measure(table, options=console.options.update(max_width=1000)).maximum
    console.width = max(console.width, needed)
    console.print(table)
    for note in notes(result):
        console.print(Text(note), soft_wrap=True)


def _cells(row: Mapping[str, Any]) -> list[str]:
    loss = row["loss"]
    told = row["status"] if loss["mean"] is None else f"{loss['mean']:.3f} [{loss['low']:.3f}, {loss['high']:.3f}]"
    share = "n/a" if row["trainable_share"] is None else f"{100 * row['trainable_share']:.2g}%"
    kept = "n/a" if row["adapter_bytes"] is None else f"{row['adapter_bytes'] / 1e6:.3g} MB"
    peak = "n/a" if row["peak_bytes"] is None else mebibytes(row["peak_bytes"])
    spent = "n/a" if row["train_s"] is None else f"{row['train_s'] + row['calibration_s']:,.0f} s"
    counts = [count(row["trainable_parameters"]), share, count(row["updated_parameters"]), kept]
    return [row["method"], told, *_difference(row), *counts, peak, spent]


def _difference(row: Mapping[str, Any]) -> list[str]:
    told = row["difference"]
    if told is None:
        return ["", "", ""]
    if _same(row):
        return ["the same", "", ""]
    alone = len(told["by_seed"]) < 2
    ends = told["over_conversations"] if alone else told
    interval = f"{told['mean']:+.3f} [{ends['low']:+.3f}, {ends['high']:+.3f}]"
    if alone:
        return [interval, "n/a", "n/a"]
    seen = "n/a" if told["detectable"] is None else f"{told['detectable']:.3f}".replace("0.000", "<0.001")
    return [f"~ {interval}" if row["verdict"] == "~" else interval, f"{told['p_holm']:.2g}", seen]


def _same(row: Mapping[str, Any]) -> bool:
    """Whether every conversation has the reference's loss."""
    told = row["difference"]
    return told is not None and told["mean"] == told["item_error"] == 0 and not any(told["by_seed"])


def notes(result: Mapping[str, Any]) -> list[str]:
    """How to read the columns, and every failure."""
    rows: Sequence[Mapping[str, Any]] = result["rows"]
    seeds = max((len(row["seeds"]) for row in rows), default=0)
    held = max((row["conversations"] or 0 for row in rows), default=0)
    told = [
        f"valid loss: nats a reply token, the mean over {held} held-out conversations and {seeds} "
        f"seed{'s' if seeds != 1 else ''}; [low, high]: 95% CI over conversations."
    ]
    if any(row["difference"] is not None for row in rows):
        told.append(
            "difference: paired, on the same conversations, below 0 is better; [low, high]: 95% CI over conversations "
            + ("alone: one seed tells nothing of other seeds, and no verdict is given; --seeds 3 or more gives one."
               if seeds < 2 else
               "and seeds. ~: a tie: p above 0.05 after Holm's correction over all methods. could see: the smallest "
               "true difference that this comparison finds four times out of five.")
        )  # fmt: skip
    if any(_same(row) for row in rows):
        told.append("the same: every conversation has the reference's loss, with every seed: nothing to test.")
    instruments = {row["peak_instrument"] for row in rows if row["peak_instrument"]}
    meaning = {"tracked": "tracked peak of live tensor storages (no GPU: not CUDA memory)"}
    told += [f"peak: {meaning.get(name, name)}, over the first two updates." for name in sorted(instruments)]
    told.append("training: seconds of all updates, and of calibration where the method has one; means over seeds.")
    told += [f"left out of the data: {n} {reason}" for reason, n in result["left_out"].items()]
    told += [
        one_line(f"{row['method']}, seed {failure['seed']}: {failure['status']}: {failure['reason']}", _REASON)
        for row in rows
        for failure in row["failures"]
    ]
    return told
