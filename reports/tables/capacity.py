"""The largest batch or input of each method within a memory budget, as a table."""

from __future__ import annotations

from bench.rows import BASELINE
from bench.tables import mebibytes, raw_samples
from reports.behind import behind
from reports.document import Cell, Samples, Table
from reports.reading.capacity import Capacity, CapacityGroup
from reports.reading.places import describe_machine
from reports.reading.settings import model_called
from reports.tables.cells import MIB, absent, amount, label, number_column, rate_cell, text_column
from sparsegrad.methods import METHODS

__all__ = ["capacity_table"]

_HOW = {"predicted": "predicted from shapes, every token active: nothing was allocated"}


def capacity_table(group: CapacityGroup, id: str) -> Table:
    """A row a method."""
    what = {"batch": f"largest batch of {group.fixed:,} tokens", "length": f"longest input at batch {group.fixed:,}"}
    asked = group.record.config
    weights = "random weights" if asked.get("random_weights") is True else "pretrained"
    question = what.get(group.find, f"largest {group.find}")
    instruments = sorted({one.instrument for one in group.sizes.values()})
    order = {name: place for place, name in enumerate(METHODS)}
    told = sorted(group.sizes.values(), key=lambda one: (order.get(one.method, len(order)), one.method))
    machine = "" if instruments == ["predicted"] else f"{describe_machine(group.record)}; "
    return Table(
        id=id,
        title=f"Capacity: {question} within {mebibytes(group.budget_bytes)}, {machine}{model_called(group.record)} "
        f"({weights}), {asked.get('dtype')}",
        columns=(
            text_column("method"),
            number_column(group.find, note="the largest that fits; the next one does not"),
            number_column(group.find, f"x {BASELINE}"),
            number_column("peak there", "MiB"),
            text_column("limited by"),
            number_column("sizes tried"),
            number_column("speed there", "steps/s", "95% CI over turns"),
        ),
        rows=tuple(_row(group, one) for one in told),
        notes=(
            *(f"Peak: {_HOW.get(name, name)}. One exact reading a size: no interval." for name in instruments),
            *(f"{one.method}: {one.record.status}: {one.record.reason}" for one in told if one.record.reason),
            *raw_samples(({**vars(one), "status": one.record.status} for one in told), of="method"),
        ),
    )


def _row(group: CapacityGroup, one: Capacity) -> tuple[Cell, ...]:
    tried = behind([one.source], [Samples(name=f"{one.method}: sizes tried", unit=group.find, values=one.tried)])
    return (
        label(one.method),
        absent("not even the least fits") if one.size is None else amount(one.size, ",.0f", detail=tried),
        amount(group.ratio(one.method), ".2f", detail=tried),
        amount(None if one.peak_bytes is None else one.peak_bytes / MIB, ",.1f", detail=tried),
        label(one.limited_by),
        amount(len(one.tried), ",.0f", detail=tried),
        _speed(one),
    )


def _speed(one: Capacity) -> Cell:
    if one.steps_per_s is None:
        return absent(one.not_timed or one.record.reason)
    samples = [Samples(name=f"{one.method}: time of a step, by turn", unit="ms", values=one.samples_ms)]
    detail = behind([one.source], samples, "geometric mean of turns")
    return rate_cell(one.steps_per_s, one.speed_ends, detail=detail)
