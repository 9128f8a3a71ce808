"""What each method is worth over several tasks of one model: scores, differences, and the mean over the tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TypeVar

from bench.paired import holm
from bench.rows import BASELINE
from eval.compare import over_seeds
from eval.metrics import TASK_METRICS
from reports.behind import behind_differences
from reports.document import Cell, Table
from reports.reading.quality import Comparison, nothing_learned
from reports.reading.settings import model_called
from reports.reading.several import Difference, difference_of, over_tasks
from reports.tables.cells import absent, label, number_column, text_column
from reports.tables.quality import difference_cell, score_cell

__all__ = ["across_table"]

K = TypeVar("K")
_SIGNIFICANT = 0.05
Told = tuple[float, float, float, bool]
"""Mean, the ends of its interval, and whether it is a tie."""


def across_table(tasks: Mapping[str, Comparison], id: str) -> Table:
    """Comparisons with full fine-tuning, by task, of one model and protocol."""
    methods = list(dict.fromkeys(name for one in tasks.values() for name in one.runs))
    found = {
        (method, task): difference
        for method in methods
        for task, one in tasks.items()
        if method != BASELINE and method in one.runs
        if (difference := difference_of(one, method, BASELINE)) is not None
    }
    whole = {
        method: tuple(found[method, task] for task in tasks)
        for method in methods
        if all((method, task) in found for task in tasks)
    }
    record = next(iter(tasks.values())).record
    protocol = f"{record.config['protocol'].get('name')} protocol"
    trains = ", everything trains" if record.config.get("trainable") == "all" else ""
    each = _told({pair: (one,) for pair, one in found.items()})
    mean = _told(whole)
    return Table(
        id=id,
        title=f"Quality over {len(tasks)} tasks: {model_called(record)}, {protocol}{trains}",
        columns=(
            text_column("method"),
            *(number_column(f"{task}, {' and '.join(TASK_METRICS[task])}", "points") for task in tasks),
            *(number_column(f"{task}, to {BASELINE}", "points", "95% CI; ~: a tie") for task in tasks),
            number_column(f"mean, to {BASELINE}", "points", "over the tasks, 95% CI; ~: a tie"),
        ),
        rows=tuple(
            (
                label(method),
                *(_score(one, method) for one in tasks.values()),
                *(_difference([found[method, task]], each[method, task]) if (method, task) in found
                  else absent("the reference itself, or nothing to pair") for task in tasks),
                _difference(whole[method], mean[method]) if method in whole else absent("not on every task"),
            )
            for method in methods
        ),
        notes=(
            f"A tie: p above 0.05 by Holm over all {len(each)} differences of this table, and over the {len(mean)} "
            "means. A table of one task corrects over that task alone, and may tell what is a tie here.",
            "Tasks differ in steps and batch as their own tables say; the mean weighs them alike, whatever the metric.",
            *nothing_learned([row for one in tasks.values() for row in one.rows(one.reference())]),
        ),
    )  # fmt: skip


def _told(differences: Mapping[K, Sequence[Difference]]) -> dict[K, Told]:
    """Each mean as it is shown: a tie by Holm over all of them."""
    means = {name: over_tasks(several) for name, several in differences.items()}
    adjusted = holm([p for *_, p in means.values()])
    return {
        name: (mean, low, high, p >= _SIGNIFICANT)
        for (name, (mean, low, high, _)), p in zip(means.items(), adjusted, strict=True)
    }


def _difference(several: Sequence[Difference], told: Told) -> Cell:
    mean, *ends, tie = told
    low, high = (end if math.isfinite(end) else None for end in ends)
    return difference_cell(mean, low, high, tie=tie, detail=behind_differences(several))


def _score(one: Comparison, method: str) -> Cell:
    """Of a task with two splits their mean."""
    told = [row["headline"]["by_seed"] for row in one.rows(one.reference()) if row["method"] == method]
    if not told or not all(told):
        return absent("not run, or failed")
    by_seed = [fmean(values) for values in zip(*told, strict=True)]
    return score_cell(over_seeds(by_seed), f"{method}, {one.task}: by seed", [run.source for run in one.runs[method]])
