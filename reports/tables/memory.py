"""Whose bytes are alive at the peak: the largest layers and roles of each method, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.behind import behind
from reports.document import Table
from reports.reading.folders import Source
from reports.tables.cells import MIB, amount, label, number_column, text_column

__all__ = ["Alive", "largest_table"]

_MOST = 3
"""Of each method's layers, and of its roles; the record holds all."""


@dataclass(frozen=True, kw_only=True)
class Alive:
    """What one layer, or all linears of one role, hold at one method's peak."""

    source: Source
    method: str
    what: str
    """layer or role."""
    name: str
    nbytes: float


def largest_table(found: Sequence[Alive], id: str, workload: str) -> Table:
    """A row a layer or role."""
    rows = []
    for method, what in dict.fromkeys((one.method, one.what) for one in found):
        own = [one for one in found if (one.method, one.what) == (method, what)]
        rows += [
            (
                label(one.method),
                label(one.what),
                label(one.name),
                amount(one.nbytes / MIB, ",.1f", detail=behind([one.source])),
            )
            for one in sorted(own, key=lambda one: -one.nbytes)[:_MOST]
        ]
    return Table(
        id=id,
        title=f"Alive at the peak, the largest layers and roles: {workload}",
        columns=(text_column("method"), text_column("of"), text_column("name"), number_column("alive", "MiB")),
        rows=tuple(rows),
        notes=(f"The {_MOST} largest of each; each storage once, as what it becomes.",),
        folded=True,
    )
