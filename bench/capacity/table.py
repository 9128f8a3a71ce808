"""Capacities as people read them, from records; not measured is never a number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.capacity.cells import NOT_ASKED, Search
from bench.capacity.speed import TURNS
from bench.record import Record, Status
from bench.rows import BASELINE
from bench.tables import machine_notes, mebibytes, rate, raw_samples

__all__ = ["print_capacity"]

_COLUMNS = ("vs full", "peak there", "limited by", "probes", "steps/s")


def print_capacity(console: Console, title: str, search: Search, records: Mapping[str, Record]) -> None:
    """Table and notes on ``console``; ``records`` by method."""
    table = Table(title=Text(title), title_justify="left", pad_edge=False)
    for at, name in enumerate(("method", search.find, *_COLUMNS)):
        table.add_column(name, justify="right" if at else "left", no_wrap=True)
    full = records[BASELINE].result.get("size")
    for name, record in records.items():
        table.add_row(*map(Text, (name, *_cells(record, full))))
    # Lines too long for a narrow terminal run on; a figure is never cut.
    needed = console.measure(table, options=console.options.update(max_width=1000)).maximum
    console.width = max(console.width, needed)
    console.print(table)
    for note in _notes(search, records):
        console.print(Text(note), soft_wrap=True)


def _cells(record: Record, full: int | None) -> list[str]:
    read = record.result
    if "size" not in read:
        return [str(record.status)]
    size = read["size"]
    told = "none" if size is None else f"{size:,}"
    ratio = "n/a" if size is None or full is None else f"{size / full:.2f}x"
    peak = read["least_misfit_bytes"] if size is None else read["peak_bytes"]
    there = "n/a" if peak is None else mebibytes(peak)
    return [told, ratio, there, read["limited_by"], str(len(read["probes"])), _speed(record)]


def _speed(record: Record) -> str:
    """``2.51 [2.43, 2.59]``; else the status of a run that failed or cannot be trusted; n/a where none was asked."""
    interval = record.result["steps_per_s_interval"]
    if interval is None:
        return "n/a" if record.status is Status.OK else str(record.status)
    return f"{rate(interval['mean'])} [{rate(interval['low'])}, {rate(interval['high'])}]"


def _notes(search: Search, records: Mapping[str, Record]) -> Iterator[str]:
    if search.predicts:
        how = "predicted on tensors without data, every token active; a GPU's context and fragmentation come on top"
    else:
        how = "measured: CUDA's allocator, each size in a fresh process, out of memory as the answer"
    yield f"peak: {how}. Calibration is not part of it (bench.speed tells its peak)."
    if search.times:
        yield (
            f"steps/s: geometric mean and 95% CI of {TURNS} timed turns of a step at that size, each method by itself "
            "in a fresh process: no ratio is taken between methods."
        )
    else:
        yield f"steps/s: n/a, {NOT_ASKED}."
    for name, record in records.items():
        untimed = record.result.get("not_timed")
        if record.status is not Status.OK:
            yield f"{name}: {record.status}: {record.reason}"
        elif record.result["size"] is not None and untimed not in (None, NOT_ASKED):
            yield f"{name}: not timed: {untimed}"
    yield from machine_notes({"machine": _machine(records)})
    yield from raw_samples(
        ({"status": record.status, "method": name, **record.result} for name, record in records.items()), of="method"
    )


def _machine(records: Mapping[str, Record]) -> dict[str, Any]:
    """What was seen of the machine over all methods that were timed."""
    seen = [record.result["machine"] for record in records.values() if record.result.get("machine")]
    distrust = {name: reason for machine in seen for name, reason in machine["distrust"].items()}
    return {"drift": seen[0]["drift"] if seen else None, "distrust": distrust}
