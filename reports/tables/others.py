"""What has no table of its own: other kinds with their key figures, runs that failed, files that were left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from reports.behind import behind
from reports.document import Table
from reports.reading.folders import Skipped, Source
from reports.reading.others import key_figures
from reports.reading.settings import setting_of
from reports.reading.shelf import PARTS
from reports.tables.cells import amount, label, number_column, text_column

__all__ = ["failed_table", "kind_table", "parts_table", "skipped_table"]


def kind_table(kind: str, sources: Sequence[Source], id: str) -> Table:
    """One row a figure: names and numbers as the records have them, units in their names."""
    rows = []
    for source in sources:
        setting = setting_of(source.record)
        figures: list[tuple[str, float | None]] = [*key_figures(source.record.result)]
        for name, value in figures or [("no number near the top of the result", None)]:
            rows.append(
                (
                    label(setting),
                    label(str(source.record.config.get("method") or "")),
                    label(name),
                    amount(value, ".6g", detail=behind([source])),
                )
            )
    return Table(
        id=id,
        title=f"Records of kind {kind}",
        columns=(text_column("setting"), text_column("method"), text_column("figure"), number_column("value")),
        rows=tuple(rows),
        notes=("The numbers nearest the top of each record; lists of samples are in the records.",),
    )


def parts_table(sources: Sequence[Source], id: str) -> Table:
    """Records that others are made of, counted by kind and setting: their figures stand where those others do."""
    found = Counter((source.record.kind, setting_of(source.record)) for source in sources)
    return Table(
        id=id,
        title="Records that others are made of",
        columns=(text_column("kind"), text_column("what it is"), text_column("setting"), number_column("records")),
        rows=tuple(
            (label(kind), label(PARTS[kind]), label(setting), amount(times, ",.0f"))
            for (kind, setting), times in sorted(found.items())
        ),
        notes=("Each stands under Runs with its command.",),
        folded=True,
    )


def failed_table(sources: Sequence[Source], id: str) -> Table:
    """Runs that came to no result."""
    return Table(
        id=id,
        title="Runs that failed",
        columns=(text_column("kind"), text_column("method"), text_column("status"), text_column("reason"),
                 text_column("run again by")),
        rows=tuple(
            (
                label(source.record.kind),
                label(str(source.record.config.get("method") or "")),
                label(source.record.status.value, behind([source])),
                label(source.record.reason or ""),
                label(source.record.command),
            )
            for source in sources
        ),
    )  # fmt: skip


def skipped_table(skipped: Sequence[Skipped], id: str) -> Table:
    """Files that are no readable record."""
    return Table(
        id=id,
        title="Files left out",
        columns=(text_column("file"), text_column("reason")),
        rows=tuple((label(one.path), label(one.reason)) for one in skipped),
    )
