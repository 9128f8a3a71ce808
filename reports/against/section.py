"""Before and after as a section of the report."""

from __future__ import annotations

from collections.abc import Sequence

from reports.against.change import Change
from reports.document import Cell, CellStatus, Prose, Section, Table
from reports.tables.cells import amount, label, number_column, text_column

__all__ = ["change_section"]


def change_section(found: Sequence[Change], *, before: str) -> Section:
    """Both sets side by side."""
    told = f"Before: {before}. Only the same workload on the same machine is compared; code and libraries may differ."
    rows = [
        (
            label(change.method),
            label(change.what),
            label(change.setting),
            Cell(
                text=change.figure().split(" [")[0],
                sort=change.value,
                status=CellStatus.NOISE if change.told == "~" else CellStatus.OK,
                interval=f"[{change.figure().split(' [')[1]}",
                detail=change.detail,
            ),
            amount(change.p_value, ".2g"),
            amount(change.effect, "+.2f"),
            label(change.told),
        )
        for change in found
    ]
    table = Table(
        id="changes",
        title="Before and after",
        columns=(
            text_column("method"),
            text_column("figure"),
            text_column("setting"),
            number_column("after over before", note="a ratio, lower is better; quality: points, higher is better"),
            number_column("p", note="Holm over this table; n/a for an exact reading"),
            number_column("effect size", note="Cohen's d"),
            text_column("verdict"),
        ),
        rows=tuple(rows),
        notes=("Times count where they leave the A/A noise of both runs; peaks from one percent.",),
    )
    nothing = "Nothing is in both sets: no workload was measured on one machine before and after."
    shown = table if rows else Prose(text=nothing)
    return Section(id="against", title="Before and after", blocks=(Prose(text=told), shown))
