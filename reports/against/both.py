"""Every figure that two shelves share, in one family of tests."""

from __future__ import annotations

from dataclasses import replace

from bench.paired import holm
from reports.against.change import Change, judged
from reports.against.cost import peak_changes, speed_changes
from reports.against.quality import quality_changes
from reports.reading.shelf import Shelf

__all__ = ["changes"]


def changes(before: Shelf, after: Shelf) -> list[Change]:
    """Every figure that both shelves have of one workload on one machine, with its verdict."""
    found = [*speed_changes(before, after), *peak_changes(before, after), *quality_changes(before, after)]
    tested = [change for change in found if change.p_value is not None]
    adjusted = iter(holm([change.p_value or 0.0 for change in tested]))
    return [judged(change if change.p_value is None else replace(change, p_value=next(adjusted))) for change in found]
