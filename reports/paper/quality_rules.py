"""The claims on quality: C11 to C13, from paired fine-tuning runs on the paper's encoders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from bench.paired import holm
from reports.behind import behind_differences
from reports.document import Verdict
from reports.paper.claims import PaperClaim
from reports.paper.findings import Finding, Rule
from reports.paper.published import METHODS, MODELS, TASKS
from reports.reading.settings import model_called
from reports.reading.several import Difference, difference_of, over_tasks
from reports.reading.shelf import Shelf

__all__ = ["QUALITY_RULES", "differences", "mean_finding"]

_SIGNIFICANT = 0.05


def differences(shelf: Shelf, method: str, over: str) -> list[Difference]:
    """Of the paper's two methods, wherever runs of both pair."""
    found = []
    for one in shelf.quality:
        ours = next((name for name in METHODS[method] if name in one.runs), None)
        theirs = next((name for name in METHODS[over] if name in one.runs), None)
        if ours is not None and theirs is not None:
            found.append(difference_of(one, ours, theirs))
    return [one for one in found if one is not None]


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
    mean, low, high, _ = over_tasks(told)
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
        detail=behind_differences(told),
        ended=max(one.comparison.record.ended for one in told),
    )


def _weaker_everywhere(claim: PaperClaim, shelf: Shelf) -> Iterator[Finding]:
    """C13: every task by itself, Holm over all of them."""
    found = [
        one
        for one in differences(shelf, "MeProp", "SparseGrad")
        if (one.model, one.comparison.task) != ("roberta-large", "cola")
    ]
    told = [over_tasks([one]) for one in found]
    for one, (mean, low, high, _), p in zip(found, told, holm([each[3] for each in told]), strict=True):
        side = Verdict.REPRODUCED if one.mean < 0 else Verdict.NOT_REPRODUCED
        protocol = str(one.comparison.record.config["protocol"].get("name"))
        yield Finding(
            verdict=side if p < _SIGNIFICANT else Verdict.WITHIN_NOISE,
            text=f"{100 * mean:+.1f} points",
            sort=100 * mean,
            interval=_points(low, high),
            setting=f"{model_called(one.comparison.record)}, {protocol} protocol, {one.comparison.task}",
            of_claim=one.model in MODELS and protocol == "paper",
            why=f"{one.method} minus {one.over} {100 * mean:+.1f} {_points(low, high)}, p {p:.2g} by Holm",
            detail=behind_differences([one]),
            ended=one.comparison.record.ended,
        )


def _points(low: float, high: float) -> str:
    return f"[{100 * low:+.1f}, {100 * high:+.1f}]"


QUALITY_RULES: dict[str, Rule] = {
    "C11": _better("SparseGrad", "LoRA", MODELS),
    "C12": _better("SparseGrad", "Regular FT", ("bert-base",)),
    "C13": _weaker_everywhere,
}
