"""Several tasks together: whose comparisons stand side by side, each paired difference, and their mean."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy.special import stdtr, stdtrit

from eval.compare import paired
from eval.tasks import TASKS
from reports.reading.quality import Comparison
from reports.reading.settings import model_called, paper_model

__all__ = ["Difference", "difference_of", "most_methods", "of_one_model", "over_tasks"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One method minus another on one task, in the metric: a hundredth is a point."""

    comparison: Comparison
    model: str | None
    """The paper's model, where it is one."""
    method: str
    over: str
    mean: float
    error: float
    """Standard error, over items and seeds; inf where one seed says nothing of others."""
    freedom: float
    by_seed: tuple[float, ...]


def difference_of(one: Comparison, method: str, over: str) -> Difference | None:
    """MNLI's two splits are averaged; None where no seed of both pairs."""
    runs, reference = ([run.record for run in one.runs[name]] for name in (method, over))
    found = [paired(one.task, split, runs, reference) for split in TASKS[one.task].splits[1:]]
    told = [each for each in found if each is not None]
    if not told:
        return None
    return Difference(
        comparison=one,
        model=paper_model(one.record),
        method=method,
        over=over,
        mean=sum(each.mean for each in told) / len(told),
        error=math.sqrt(sum(each.standard_error**2 for each in told)) / len(told),
        freedom=min(each.freedom for each in told),
        by_seed=told[0].by_seed,
    )


def over_tasks(differences: Sequence[Difference]) -> tuple[float, float, float, float]:
    """(mean, low, high, p) of the mean over tasks: tasks are fixed, so that errors add in squares, with Welch and
    Satterthwaite's degrees of freedom."""
    number = len(differences)
    mean = sum(one.mean for one in differences) / number
    error = math.sqrt(sum(one.error**2 for one in differences)) / number
    if math.isinf(error):
        return mean, -math.inf, math.inf, 1.0
    if error == 0:
        return mean, mean, mean, float(mean == 0)
    weights = sum((one.error / number) ** 4 / one.freedom for one in differences)
    freedom = error**4 / weights if weights else math.inf
    half = float(stdtrit(freedom, 0.975)) * error
    return mean, mean - half, mean + half, float(2 * stdtr(freedom, -abs(mean) / error))


def of_one_model(compared: Iterable[Comparison]) -> list[dict[str, Comparison]]:
    """Task -> comparison, of each model, protocol and part that trains, with which several tasks were run."""
    groups: dict[tuple[str, ...], list[Comparison]] = defaultdict(list)
    for one in compared:
        asked = one.record.config
        groups[model_called(one.record), str(asked["protocol"].get("name")), str(asked.get("trainable"))].append(one)
    return [tasks for own in groups.values() if len(tasks := most_methods(own)) > 1]


def most_methods(compared: Iterable[Comparison]) -> dict[str, Comparison]:
    """Task -> its comparison with the most methods, the newest of several."""
    found: dict[str, Comparison] = {}
    for one in sorted(compared, key=lambda one: (len(one.runs), one.record.ended), reverse=True):
        if len(one.runs) > 1:
            found.setdefault(one.task, one)
    return dict(sorted(found.items()))
