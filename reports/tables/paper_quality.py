"""Tables 4, 5, 9 and 10: GLUE quality, printed beside the authors' logs and what was measured, else n/a."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

from eval.tasks import TASKS as GLUE
from reports.document import Cell, Detail, Samples, Table
from reports.paper.authors import LOG_METHODS, Logs
from reports.paper.published import AVERAGES, METHODS, MODELS, ROBERTA_LARGE, TASKS
from reports.reading.quality import Comparison
from reports.reading.settings import paper_model
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
    if logs is None or method not in LOG_METHODS:
        return absent()
    average, seeds = logs.average(model, LOG_METHODS[method]), logs.by_seed(model, LOG_METHODS[method])
    spread = f"± {stdev(seeds):.1f}" if len(seeds) > 1 else None
    detail = Detail(runs=(), samples=(Samples(name=f"{method}, {model}: by seed", unit="points", values=seeds),))
    return amount(average, ".1f", interval=spread, detail=detail)


def _scores(one: Comparison, method: str) -> list[float]:
    """Points by seed, mnli's splits averaged; empty where no way of computing the method was run."""
    name = next((name for name in METHODS[method] if name in one.runs), None)
    splits = GLUE[one.task].splits[1:]
    return [
        100 * fmean(run.record.result["splits"][split]["headline"] for split in splits)
        for run in (one.runs[name] if name is not None else [])
        if run.record.result
    ]


def _newest(shelf: Shelf, model: str, task: str) -> Comparison | None:
    return next((one for one in shelf.quality if paper_model(one.record) == model and one.task == task), None)


def _measured_average(shelf: Shelf, model: str, method: str) -> Cell:
    found = [_newest(shelf, model, task) for task in TASKS]
    scores = [_scores(one, method) for one in found if one is not None]
    if len(scores) < len(TASKS) or not all(scores):
        return absent("not all eight tasks were run")
    return amount(fmean(map(fmean, scores)), ".1f")


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
                    one = _newest(shelf, model, task)
                    cells.append(_by_seed_cell([] if one is None else _scores(one, method), f"{method}, {task}"))
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
    return _by_seed_cell(list(logs.scores.get((model, task, LOG_METHODS[method]), {}).values()), f"{method}, {task}")


def _by_seed_cell(values: Sequence[float], name: str) -> Cell:
    if not values:
        return absent()
    spread = f"± {stdev(values):.1f}" if len(values) > 1 else None
    detail = Detail(runs=(), samples=(Samples(name=f"{name}: by seed", unit="points", values=tuple(values)),))
    return amount(fmean(values), ".1f", interval=spread, detail=detail)
