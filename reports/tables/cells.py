"""The few kinds of cell that every table is made of."""

from __future__ import annotations

import math

from bench.stats import RatioInterval
from bench.tables import count
from reports.behind import bracketed
from reports.document import Cell, CellStatus, Column, Detail
from reports.paper.printed import Printed

__all__ = [
    "MIB",
    "absent",
    "amount",
    "count_cell",
    "failure",
    "label",
    "number_column",
    "printed_cell",
    "rate_cell",
    "ratio_cell",
    "text_column",
]

MIB = 2**20


def label(text: str, detail: Detail | None = None) -> Cell:
    """A name."""
    return Cell(text=text, sort=text, detail=detail)


def absent(reason: str | None = None) -> Cell:
    """Not measured."""
    return Cell(text="", status=CellStatus.NOT_MEASURED, reason=reason)


def failure(status: str, reason: str | None) -> Cell:
    """A run that came to no figure."""
    return Cell(text=status, status=CellStatus.FAILED, reason=reason)


def amount(value: float | None, form: str, *, detail: Detail | None = None, interval: str | None = None) -> Cell:
    """A measured number in a format of ``format``; n/a for None."""
    if value is None or not math.isfinite(value):
        return absent()
    return Cell(text=f"{value:{form}}", sort=value, detail=detail, interval=interval)


def count_cell(number: int | None, *, detail: Detail | None = None) -> Cell:
    """How many parameters, in three figures: ``7.09M``; n/a for None."""
    return absent() if number is None else Cell(text=count(number), sort=number, detail=detail)


def rate_cell(
    value: float | None, ends: tuple[float | None, float | None] = (None, None), *, detail: Detail | None = None
) -> Cell:
    """So many a second, in three figures and without an exponent: ``0.400``, ``12.3``; n/a for None."""
    if value is None or not 0 < value < math.inf:
        return absent()
    form, (low, high) = f",.{max(0, 2 - math.floor(math.log10(value)))}f", ends
    interval = None if low is None or high is None else f"[{low:{form}}, {high:{form}}]"
    return amount(value, form, detail=detail, interval=interval)


def ratio_cell(ratio: RatioInterval | None, told: str | None, detail: Detail | None = None) -> Cell:
    """A ratio with its interval, marked where it is not told apart from the A/A noise."""
    if ratio is None:
        return absent()
    tie = told == "~"
    return Cell(
        text=f"{ratio.mean:.2f}x",
        sort=ratio.mean,
        status=CellStatus.NOISE if tie else CellStatus.OK,
        interval=bracketed(ratio),
        reason="inside the noise of the reference against itself" if tie else None,
        detail=detail,
    )


def text_column(name: str, note: str | None = None) -> Column:
    """Set to the left."""
    return Column(name=name, note=note)


def number_column(name: str, unit: str | None = None, note: str | None = None) -> Column:
    """Set to the right."""
    return Column(name=name, unit=unit, numeric=True, note=note)


def printed_cell(printed: Printed, form: str = "g") -> Cell:
    """A printed value with every reading of it."""
    reason = None if len(printed.values) == 1 else printed.certainty.value
    if printed.value is None:
        return Cell(text="uncertain", status=CellStatus.NOT_MEASURED, reason="the scans are garbled here")
    return Cell(text=printed.told(form), sort=printed.value, reason=reason)
