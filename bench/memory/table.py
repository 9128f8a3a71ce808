"""The memory tables as people read them, from records; not measured is never a number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.attribution import CATEGORIES
from bench.record import Record, Status
from bench.rows import BASELINE
from bench.tables import count, mebibytes
from bench.train import PHASES

__all__ = ["print_memory"]

_MEANING = {
    "tracked": "tracked peak of live tensor storages (no GPU: not CUDA memory, not the process's size), each method in "
    "a fresh process",
    "predicted": "predicted on tensors without data: the tracked peak with every token active and attention masked; "
    "nothing was allocated",
}
_ALLOCATOR = {"requested": "requested_bytes", "reserved": "reserved_bytes"}


def print_memory(console: Console, title: str, records: Mapping[str, Record], *, layers: int) -> None:
    """Peaks by phase, what is alive there by category and (the ``layers`` largest) by layer and role, and notes."""
    measured = {name: record.result for name, record in records.items() if record.status is Status.OK}
    tables = [_peaks(title, records, measured.get(BASELINE))]
    if measured:
        tables += [_categories(measured), *([_layers(measured, layers)] if layers else [])]
    for table in tables:
        needed = console.measure(table, options=console.options.update(max_width=1000)).maximum
        console.width = max(console.width, needed)
        console.print(table)
    for note in _notes(records, measured):
        console.print(Text(note), soft_wrap=True)


def _peaks(title: str, records: Mapping[str, Record], full: Mapping[str, Any] | None) -> Table:
    on_cuda = any(record.result.get("reserved_bytes") is not None for record in records.values())
    more = [*_ALLOCATOR, "device used"] if on_cuda else []
    table = _table(title, "method", "peak", "vs full", "stands in", *PHASES, *more, "trainable", "updated", "adapter")
    for name, record in records.items():
        read = record.result
        if record.status is not Status.OK:
            table.add_row(Text(name), Text(str(record.status)))
            continue
        ratio = "n/a" if full is None else f"{read['peak_bytes'] / full['peak_bytes']:.3f}x"
        stands = f"{read['peak_phase']}, step {read['peak_step']}"
        phases = [mebibytes(read["by_phase_bytes"][phase]) for phase in PHASES]
        used = max((read["by_phase_device_used_bytes"] or {}).values(), default=None)
        allocator = [_told(read[field]) for field in _ALLOCATOR.values()] + [_told(used)] if on_cuda else []
        counts = [count(read["trainable_parameters"]), count(read["updated_parameters"])]
        adapter = _told(read["adapter_bytes"])
        table.add_row(Text(name), mebibytes(read["peak_bytes"]), ratio, stands, *phases, *allocator, *counts, adapter)
    return table


def _categories(measured: Mapping[str, Mapping[str, Any]]) -> Table:
    words = [category.replace("_", " ") for category in CATEGORIES]
    table = _table("Alive at the peak; saved after the forward", "method", *words, "saved", "leak a step")
    for name, read in measured.items():
        alive = read["at_peak"]["by_category_bytes"]
        leak = read["leak_bytes_per_step"]
        cells = [_told(alive[category]) for category in CATEGORIES]
        table.add_row(Text(name), *cells, mebibytes(read["saved_for_backward_bytes"]), _told(leak))
    return table


def _layers(measured: Mapping[str, Mapping[str, Any]], most: int) -> Table:
    table = _table("Alive at the peak, the largest layers and roles", "method", "layer", "bytes", "role", "bytes")
    table.columns[3].justify = table.columns[1].justify = "left"
    for name, read in measured.items():
        for at, (layer, role) in enumerate(zip(*_largest(read["at_peak"], most), strict=True)):
            table.add_row(Text("" if at else name), *layer, *role, end_section=at == most - 1)
    return table


def _largest(alive: Mapping[str, Any], most: int) -> Iterator[list[tuple[Text, str]]]:
    """Name and bytes of the largest layers, then of the largest roles, both ``most`` long. Names are the model's."""
    for word in ("layer", "role"):
        rows = [(Text(row[word]), mebibytes(row["bytes"])) for row in alive[f"by_{word}"][:most]]
        yield rows + [(Text(""), "")] * (most - len(rows))


def _notes(records: Mapping[str, Record], measured: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for instrument in sorted({read["instrument"] for read in measured.values()}):
        yield f"peak: {_MEANING.get(instrument, instrument)}."
    for instrument in sorted({read["attribution_instrument"] for read in measured.values()}):
        yield f"categories, layers, saved: {instrument}; each storage once, as what it becomes."
    if any(read["by_phase_device_used_bytes"] for read in measured.values()):
        yield "device used: the whole device as a phase ends, other processes and CUDA's own included (mem_get_info)."
    for name, read in measured.items():
        if (read["leak_bytes_per_step"] or 0) > 0:
            yield f"{name}: {_told(read['leak_bytes_per_step'])} more alive after each step: a leak."
    for name, record in records.items():
        if record.status is not Status.OK:
            yield f"{name}: {record.status}: {record.reason}"


def _told(nbytes: float | None) -> str:
    if nbytes is None:
        return "n/a"
    return mebibytes(nbytes) if nbytes == 0 or abs(nbytes) >= 2**16 else f"{nbytes:,.0f} B"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=Text(title), title_justify="left", pad_edge=False)
    for at, name in enumerate(columns):
        table.add_column(name, justify="right" if at else "left", no_wrap=True)
    return table
