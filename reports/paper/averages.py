"""Scores of the paper's methods on GLUE as it averages them: points by seed, on one task and over all eight."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from eval.tasks import TASKS as GLUE
from reports.paper.published import METHODS, TASKS
from reports.reading.folders import Source
from reports.reading.quality import Comparison, QualityRun
from reports.reading.settings import paper_model
from reports.reading.shelf import Shelf

__all__ = ["Average", "average_of", "newest", "points", "sources_of"]


@dataclass(frozen=True, kw_only=True)
class Average:
    """One method's mean over GLUE's eight tasks."""

    by_seed: tuple[float, ...]
    """Points, of each seed that all eight tasks were run with."""
    sources: tuple[Source, ...]
    protocols: frozenset[str]
    """Names of those that the tasks were trained by."""

    @property
    def mean(self) -> float:
        """Over seeds."""
        return fmean(self.by_seed)

    @property
    def ended(self) -> str:
        """When the last run did."""
        return max(source.record.ended for source in self.sources)


def newest(shelf: Shelf, model: str, task: str) -> Comparison | None:
    """The newest comparison on that task of one of the paper's models."""
    return next((one for one in shelf.quality if paper_model(one.record) == model and one.task == task), None)


def points(one: Comparison, method: str) -> dict[int, float]:
    """By seed, MNLI's two splits averaged; empty where no way of computing the paper's method was run."""
    splits = GLUE[one.task].splits[1:]
    return {
        run.seed: 100 * fmean(run.record.result["splits"][split]["headline"] for split in splits)
        for run in _runs(one, method)
        if run.record.result
    }


def average_of(shelf: Shelf, model: str, method: str) -> Average | None:
    """The paper's method on the paper's model; None where no seed has all eight tasks."""
    found = [one for task in TASKS if (one := newest(shelf, model, task)) is not None]
    scores = [points(one, method) for one in found]
    seeds = sorted(set.intersection(*map(set, scores))) if len(scores) == len(TASKS) else []
    if not seeds:
        return None
    return Average(
        by_seed=tuple(fmean(own[seed] for own in scores) for seed in seeds),
        sources=tuple(source for one in found for source in sources_of(one, method)),
        protocols=frozenset(str(one.record.config["protocol"].get("name")) for one in found),
    )


def sources_of(one: Comparison, method: str) -> tuple[Source, ...]:
    """The records of those runs."""
    return tuple(run.source for run in _runs(one, method))


def _runs(one: Comparison, method: str) -> list[QualityRun]:
    """Of the first method here that is the same mathematics and was run."""
    return next((one.runs[name] for name in METHODS[method] if name in one.runs), [])
