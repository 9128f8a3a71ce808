"""What the preliminary phase costs, both ways, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from reports.behind import behind
from reports.document import Table
from reports.reading.preliminary import Preliminary
from reports.reading.settings import setting_of
from reports.tables.cells import MIB, amount, label, number_column, text_column

__all__ = ["preliminary_table"]


def preliminary_table(runs: Sequence[Preliminary], id: str) -> Table:
    """A row a way: streamed, as it is done here, and stacked, as the paper writes it."""
    rows = []
    for run in runs:
        own = behind([run.source])
        rows.append(
            (
                label(setting_of(run.record)),
                label(run.mode),
                amount(run.steps, ",.0f"),
                amount(run.seconds, ",.1f", detail=own),
                amount(None if run.peak_bytes is None else run.peak_bytes / MIB, ",.1f", detail=own),
                amount(run.model_bytes / MIB, ",.1f", detail=own),
                amount(run.stack_bytes / MIB, ",.0f", detail=own) if run.mode == "stacked" else label(""),
                label(run.how),
            )
        )
    return Table(
        id=id,
        title="Preliminary phase: streamed beside stacked",
        columns=(
            text_column("setting"),
            text_column("way"),
            number_column("batches"),
            number_column("time", "s", "of one making, no interval"),
            number_column("peak", "MiB", "of tensors, the model among them"),
            number_column("model", "MiB"),
            number_column("one role's stack", "MiB", "fp32, from the shapes"),
            text_column("how"),
        ),
        rows=tuple(rows),
        notes=("Peak: tracked live tensor storages; what a decomposition's routine uses inside is not seen.",),
    )
