"""Tables 4, 5, 9 and 10: GLUE quality, printed beside the authors' logs and what was measured, else n/a."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

from reports.behind import behind
from reports.document import Cell, Detail, Samples, Table
from reports.paper.authors import LOG_METHODS, Logs
from reports.paper.averages import average_of, newest, points, sources_of
from reports.paper.published import AVERAGES, METHODS, MODELS, ROBERTA_LARGE, TASKS
from reports.reading.folders import Source
from reports.reading.shelf import Shelf
from reports.tables.cells import absent, amount, label, number_column, printed_cell, text_column

__all__ = ["average_table", "task_table"]


def average_table(shelf: Shelf, logs: Logs | None) -> Table:
    """Tables 4 and 5: mean over GLUE's eight tasks, by model: printed, in the authors' logs, measured."""
    rows = []
    for method in METHODS:
        cells = [label(method)]
        for model in MODELS:
            cells += [printed_cell(AVERAGES[method, model]), _logged_average(logs, model, method)]
            cells.append(_measured_average(shelf, model, method))
        rows.append(tuple(cells))
    heads = [
        number_column(f"{model}, {what}", "points") for model in MODELS for what in ("printed", "logs", "measured")
    ]
    return Table(
        id="table-4",
        title="Tables 4 and 5: quality, mean over GLUE's eight tasks",
        columns=(text_column("method"), *heads),
        rows=tuple(rows),
        notes=("Logs: the authors' published runs, ± standard deviation over seeds. Measured: all eight tasks.",),
    )


def _logged_average(logs: Logs | None, model: str, method: str) -> Cell:
    if logs is None or method not in LOG_METHODS or logs.average(model, LOG_METHODS[method]) is None:
        return absent()
    return _by_seed_cell(logs.by_seed(model, LOG_METHODS[method]), f"{method}, {model}")


def _measured_average(shelf: Shelf, model: str, method: str) -> Cell:
    found = average_of(shelf, model, method)
    if found is None:
        return absent("not all eight tasks were run")
    return _by_seed_cell(found.by_seed, f"{method}, {model}", found.sources)


def task_table(model: str, shelf: Shelf, logs: Logs | None) -> Table:
    """Tables 5, 9 and 10: one model by task; tables 9 and 10 are garbled in the scans."""
    rows = []
    for method in METHODS:
        for what in ("printed", "logs", "measured"):
            cells = [label(method), label(what)]
            for task in TASKS:
                if what == "printed":
                    printed = ROBERTA_LARGE[method][task] if model == "roberta-large" else None
                    cells.append(absent("garbled in the scans") if printed is None else printed_cell(printed))
                elif what == "logs":
                    cells.append(_logged(logs, model, task, method))
                else:
                    cells.append(_measured(shelf, model, task, method))
            rows.append(tuple(cells))
    number = {"bert-base": "9", "roberta-base": "10", "roberta-large": "5"}[model]
    return Table(
        id=f"table-{number}-{model}",
        title=f"Table {number}: quality by task, {model}",
        columns=(text_column("method"), text_column("from"), *(number_column(task, "points") for task in TASKS)),
        rows=tuple(rows),
        notes=("Mean over seeds, with their standard deviation; a task of two metrics counts with their mean.",),
    )


def _logged(logs: Logs | None, model: str, task: str, method: str) -> Cell:
    if logs is None or method not in LOG_METHODS:
        return absent()
    scores = logs.scores.get((model, task, LOG_METHODS[method]), {})
    return _by_seed_cell(tuple(scores.values()), f"{method}, {task}")


def _measured(shelf: Shelf, model: str, task: str, method: str) -> Cell:
    if (one := newest(shelf, model, task)) is None:
        return absent()
    return _by_seed_cell(tuple(points(one, method).values()), f"{method}, {task}", sources_of(one, method))


def _by_seed_cell(values: Sequence[float], name: str, sources: Sequence[Source] = ()) -> Cell:
    """``sources``: none for the authors' logs, which are no records."""
    if not values:
        return absent()
    spread = f"± {stdev(values):.1f}" if len(values) > 1 else None
    samples = (Samples(name=f"{name}: by seed", unit="points", values=tuple(values)),)
    detail = behind(sources, samples) if sources else Detail(runs=(), samples=samples)
    return amount(fmean(values), ".1f", interval=spread, detail=detail)
