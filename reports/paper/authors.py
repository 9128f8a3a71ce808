"""The authors' published GLUE logs: read from their file, one run a line, and compared method by method."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from types import MappingProxyType

from scipy.special import stdtrit
from scipy.stats import ttest_1samp

from bench.errors import BadRequest
from reports.paper.published import TASKS

__all__ = ["LOG_METHODS", "LoggedDifference", "Logs", "read_logs", "student_prediction"]

_COLUMNS = ("model", "task", "method", "seed", "metric", "value", "peak_mem_mib")
_MODELS = {"bert-base-uncased": "bert-base", "roberta-base": "roberta-base", "roberta-large": "roberta-large"}
LOG_METHODS: Mapping[str, str] = MappingProxyType({"Regular FT": "ft", "LoRA": "lora", "SparseGrad": "sparse"})


@dataclass(frozen=True, kw_only=True)
class LoggedDifference:
    """One method minus another in points (hundredths), over seeds: a mean over tasks, or of one task."""

    mean: float
    low: float
    """95%, Student's t over seeds; -inf where one seed says nothing."""
    high: float
    p_value: float
    by_seed: tuple[float, ...]
    tasks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Logs:
    """Scores and peaks of every run; a task of two metrics counts with their mean, as GLUE averages."""

    scores: Mapping[tuple[str, str, str], Mapping[int, float]]
    """(model, task, method) -> points by seed."""
    peaks_mib: Mapping[tuple[str, str, str], tuple[float, ...]]

    def tasks(self, model: str, *methods: str) -> tuple[str, ...]:
        """Of GLUE's eight, those that all the methods were logged on."""
        return tuple(task for task in TASKS if all((model, task, method) in self.scores for method in methods))

    def average(self, model: str, method: str) -> float | None:
        """Mean over GLUE's eight tasks of the mean over seeds; None where a task is missing."""
        if self.tasks(model, method) != TASKS:
            return None
        return fmean(fmean(self.scores[model, task, method].values()) for task in TASKS)

    def by_seed(self, model: str, method: str) -> tuple[float, ...]:
        """The mean over the eight tasks of each seed that has them all."""
        own = [self.scores.get((model, task, method), {}) for task in TASKS]
        seeds = sorted(set.intersection(*(set(scores) for scores in own)))
        return tuple(fmean(scores[seed] for scores in own) for seed in seeds)

    def difference(self, model: str, method: str, over: str, tasks: tuple[str, ...] | None = None) -> LoggedDifference:
        """Paired by seed and task; ValueError where no seed has all tasks in both."""
        chosen = self.tasks(model, method, over) if tasks is None else tasks
        pairs = [(self.scores[model, task, method], self.scores[model, task, over]) for task in chosen]
        seeds = sorted(set.intersection(*(ours.keys() & theirs.keys() for ours, theirs in pairs))) if pairs else []
        if not seeds:
            raise ValueError(f"no seed has {method} and {over} on {', '.join(chosen) or 'any task'} of {model}")
        values = tuple(fmean(ours[seed] - theirs[seed] for ours, theirs in pairs) for seed in seeds)
        low, high, p = _interval(values)
        return LoggedDifference(mean=fmean(values), low=low, high=high, p_value=p, by_seed=values, tasks=chosen)

    def peak_ratios(self, model: str, method: str, over: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean peaks of both methods in MiB, task by task."""
        tasks = self.tasks(model, method, over)
        ours, theirs = (tuple(fmean(self.peaks_mib[model, task, name]) for task in tasks) for name in (method, over))
        return ours, theirs


def _interval(values: tuple[float, ...]) -> tuple[float, float, float]:
    """Student's t of the mean over seeds: low, high, two-sided p of no difference."""
    if len(values) < 2:
        return -math.inf, math.inf, 1.0
    if len(set(values)) == 1:  # no spread: the test's 0 / 0
        return values[0], values[0], 1.0 if values[0] == 0 else 0.0
    found = ttest_1samp(values, 0.0)
    ends = found.confidence_interval(0.95)
    return float(ends.low), float(ends.high), float(found.pvalue)


def student_prediction(values: tuple[float, ...], seeds: int) -> tuple[float, float]:
    """Where the mean of so many further seeds falls with 95% chance: the spread of both means; infinite from one value.

    (mean of m new - mean of n) / (s sqrt(1/m + 1/n)) follows Student's t with n - 1 degrees of freedom.
    """
    count = len(values)
    if count < 2:
        return -math.inf, math.inf
    half = float(stdtrit(count - 1, 0.975)) * stdev(values) * math.sqrt(1 / seeds + 1 / count)
    return fmean(values) - half, fmean(values) + half


def read_logs(path: Path) -> Logs:
    """The file as logs; BadRequest for one that is none."""
    metrics: dict[tuple[str, str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    peaks: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if missing := [name for name in _COLUMNS if name not in (rows.fieldnames or ())]:
                raise BadRequest(f"{str(path)!r} has no column {', '.join(missing)}: give the authors' logs as CSV")
            for number, row in enumerate(rows, start=2):
                _add(row, number, path, metrics, peaks)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "it is no CSV text"
        raise BadRequest(f"cannot read {str(path)!r}: {reason}; give the authors' logs as CSV") from error
    if not metrics:
        raise BadRequest(f"{str(path)!r} holds no run of a model of the paper's; give the authors' logs as CSV")
    scores = {key: {seed: 100 * fmean(own) for seed, own in seeds.items()} for key, seeds in metrics.items()}
    return Logs(scores=scores, peaks_mib={key: tuple(own) for key, own in peaks.items()})


def _add(
    row: dict[str, str],
    number: int,
    path: Path,
    metrics: dict[tuple[str, str, str], dict[int, list[float]]],
    peaks: dict[tuple[str, str, str], list[float]],
) -> None:
    """One line; a model that is not the paper's is passed over."""
    if row["model"] not in _MODELS:
        return
    key = (_MODELS[row["model"]], row["task"], row["method"])
    try:
        value, peak, seed = float(row["value"]), float(row["peak_mem_mib"]), int(row["seed"])
    except (TypeError, ValueError) as error:
        raise BadRequest(f"{str(path)!r}, line {number}: a seed, a value and a peak in MiB are needed") from error
    if not (math.isfinite(value) and -1 <= value <= 1 and 0 < peak < 1e9):
        raise BadRequest(f"{str(path)!r}, line {number}: value {value:g} or peak {peak:g} MiB is no measurement")
    metrics[key][seed].append(value)
    peaks[key].append(peak)
