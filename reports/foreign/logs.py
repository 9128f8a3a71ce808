"""The authors' GLUE logs as a table of their own: mean over seeds by model, task and method."""

from __future__ import annotations

from statistics import fmean, stdev

from reports.document import Detail, Samples, Table
from reports.paper.authors import Logs
from reports.tables.cells import amount, label, number_column, text_column

__all__ = ["log_table"]


def log_table(logs: Logs, id: str) -> Table:
    """One row a model, task and method."""
    rows = []
    for (model, task, method), scores in sorted(logs.scores.items()):
        values = tuple(scores.values())
        spread = f"± {stdev(values):.1f}" if len(values) > 1 else None
        name = f"{model}, {task}, {method}"
        points = Detail(runs=(), samples=(Samples(name=f"{name}: by seed", unit="points", values=values),))
        peaks = logs.peaks_mib[model, task, method]
        memory = Detail(runs=(), samples=(Samples(name=f"{name}: peak by run", unit="MiB", values=peaks),))
        rows.append(
            (
                label(model),
                label(task),
                label(method),
                amount(fmean(values), ".1f", interval=spread, detail=points),
                amount(len(values), ",.0f"),
                amount(fmean(peaks), ",.0f", detail=memory),
            )
        )
    return Table(
        id=id,
        title="The authors' GLUE logs",
        columns=(
            text_column("model"),
            text_column("task"),
            text_column("method"),
            number_column("score", "points", "mean over seeds and the task's metrics, ± standard deviation over seeds"),
            number_column("seeds"),
            number_column("peak", "MiB", "CUDA, mean over runs"),
        ),
        rows=tuple(rows),
    )
