"""The claims on quality: C11 to C13, from paired fine-tuning runs on the paper's encoders."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scipy.special import stdtr, stdtrit

from bench.paired import holm
from eval.tasks import TASKS as GLUE
from reports.behind import behind
from reports.document import Samples, Verdict
from reports.paper.claims import PaperClaim
from reports.paper.findings import Finding, Rule
from reports.paper.published import METHODS, MODELS, TASKS
from reports.reading.quality import Comparison
from reports.reading.settings import model_called, paper_model
from reports.reading.shelf import Shelf

__all__ = ["QUALITY_RULES", "Difference", "differences", "mean_finding"]

_SIGNIFICANT = 0.05


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One method minus another on one task: points are hundredths of the metric."""

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


def differences(shelf: Shelf, method: str, over: str) -> list[Difference]:
    """Of the paper's two methods, wherever runs of both pair; mnli's two splits are averaged."""
    found = []
    for one in shelf.quality:
        ours = next((name for name in METHODS[method] if name in one.runs), None)
        theirs = next((name for name in METHODS[over] if name in one.runs), None)
        if ours is None or theirs is None:
            continue
        pair = Comparison(task=one.task, runs={theirs: one.runs[theirs], ours: one.runs[ours]}, left_out=())
        rows = [row["difference"] for row in pair.rows(theirs) if row["difference"] is not None]
        if rows:
            found.append(_difference(one, ours, theirs, rows))
    return found


def _difference(one: Comparison, ours: str, theirs: str, rows: list[dict[str, Any]]) -> Difference:
    errors = [_error(row) for row in rows]
    return Difference(
        comparison=one,
        model=paper_model(one.record),
        method=ours,
        over=theirs,
        mean=sum(row["mean"] for row in rows) / len(rows),
        error=math.sqrt(sum(error**2 for error in errors)) / len(rows),
        freedom=min((row["freedom"] or math.inf) for row in rows),
        by_seed=tuple(rows[0]["by_seed"]),
    )


def _error(row: dict[str, Any]) -> float:
    parts = (row["item_error"], row["seed_error"])
    return math.inf if None in parts else math.hypot(*parts)


def _over_tasks(differences: list[Difference]) -> tuple[float, float, float]:
    """(mean, low, high) of the mean over tasks: tasks are fixed, so that errors add in squares, with Welch and
    Satterthwaite's degrees of freedom."""
    number = len(differences)
    mean = sum(one.mean for one in differences) / number
    error = math.sqrt(sum(one.error**2 for one in differences)) / number
    if math.isinf(error):
        return mean, -math.inf, math.inf
    if error == 0:
        return mean, mean, mean
    weights = sum((one.error / number) ** 4 / one.freedom for one in differences)
    half = float(stdtrit(error**4 / weights if weights else math.inf, 0.975)) * error
    return mean, mean - half, mean + half


def _better(method: str, over: str, models: tuple[str, ...]) -> Rule:
    """The rule that a method is better than another in the mean over tasks on each of the models."""

    def rule(claim: PaperClaim, shelf: Shelf) -> Iterator[Finding]:
        by_setting: dict[tuple[str, str], list[Difference]] = defaultdict(list)
        for one in differences(shelf, method, over):
            protocol = one.comparison.record.config["protocol"].get("name")
            by_setting[model_called(one.comparison.record), str(protocol)].append(one)
        for (model, protocol), own in by_setting.items():
            yield mean_finding(model, protocol, own, models)

    return rule


def mean_finding(model: str, protocol: str, own: list[Difference], models: tuple[str, ...]) -> Finding:
    """The mean over tasks as a finding; of the claim on one of ``models`` by the paper's protocol, all eight tasks."""
    newest = {one.comparison.task: one for one in reversed(own)}  # newest first: the newest of a task is set last
    told = [newest[task] for task in sorted(newest)]
    mean, low, high = _over_tasks(told)
    side = Verdict.REPRODUCED if low > 0 else Verdict.NOT_REPRODUCED if high < 0 else Verdict.WITHIN_NOISE
    return Finding(
        verdict=side,
        text=f"{100 * mean:+.1f} points",
        sort=100 * mean,
        interval=_points(low, high),
        setting=f"{model}, {protocol} protocol, {', '.join(sorted(newest))}",
        of_claim=told[0].model in models and protocol == "paper" and set(newest) == set(TASKS),
        why=(
            f"{told[0].method} minus {told[0].over}, mean over {len(told)} tasks {100 * mean:+.1f} {_points(low, high)}"
        ),
        detail=_detail(told),
        ended=max(one.comparison.record.ended for one in told),
    )


def _weaker_everywhere(claim: PaperClaim, shelf: Shelf) -> Iterator[Finding]:
    """C13: every task by itself, Holm over all of them."""
    found = [one for one in differences(shelf, "MeProp", "SparseGrad")]
    found = [one for one in found if (one.model, one.comparison.task) != ("roberta-large", "cola")]
    for one, p in zip(found, holm([_p_value(one) for one in found]), strict=True):
        side = Verdict.REPRODUCED if one.mean < 0 else Verdict.NOT_REPRODUCED
        protocol = str(one.comparison.record.config["protocol"].get("name"))
        mean, low, high = _over_tasks([one])
        yield Finding(
            verdict=side if p < _SIGNIFICANT else Verdict.WITHIN_NOISE,
            text=f"{100 * mean:+.1f} points",
            sort=100 * mean,
            interval=_points(low, high),
            setting=f"{model_called(one.comparison.record)}, {protocol} protocol, {one.comparison.task}",
            of_claim=one.model in MODELS and protocol == "paper",
            why=f"{one.method} minus {one.over} {100 * mean:+.1f} {_points(low, high)}, p {p:.2g} by Holm",
            detail=_detail([one]),
            ended=one.comparison.record.ended,
        )


def _p_value(one: Difference) -> float:
    if one.error == 0:
        return 1.0 if one.mean == 0 else 0.0
    return 1.0 if math.isinf(one.error) else float(2 * stdtr(one.freedom, -abs(one.mean) / one.error))


def _detail(told: list[Difference]) -> Any:
    sources = [run.source for one in told for name in (one.method, one.over) for run in one.comparison.runs[name]]
    samples = [
        Samples(
            name=f"{GLUE[one.comparison.task].name}: {one.method} minus {one.over}, by seed",
            unit="points",
            values=tuple(100 * value for value in one.by_seed),
        )
        for one in told
    ]
    return behind(sources, samples, "mean over seeds; the interval covers other items and other seeds")


def _points(low: float, high: float) -> str:
    return f"[{100 * low:+.1f}, {100 * high:+.1f}]"


QUALITY_RULES: dict[str, Rule] = {
    "C11": _better("SparseGrad", "LoRA", MODELS),
    "C12": _better("SparseGrad", "Regular FT", ("bert-base",)),
    "C13": _weaker_everywhere,
}
