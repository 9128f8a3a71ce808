"""GLUE's published metrics, task by task, as numbers from 0 to 1 (correlations: -1 to 1).

Where a prediction is constant a correlation is 0 / 0; it counts as 0 here, no association, which is also what
scikit-learn returns for Matthews' coefficient. A model that predicts one class for everything is thus a low score and
not a hole in the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["METRICS", "TASK_METRICS", "accuracy", "f1", "headline", "mcc", "pearson", "score", "spearman"]

Array = NDArray[Any]
Metric = Callable[[Array, Array], float]


def accuracy(labels: Array, predictions: Array) -> float:
    """Share of items whose predicted class is the label."""
    return float(np.mean(labels == predictions))


def f1(labels: Array, predictions: Array) -> float:
    """F1 of class 1: 2 TP / (2 TP + FP + FN); 0 where class 1 is neither there nor predicted."""
    hits = np.sum((labels == 1) & (predictions == 1))
    marked = np.sum(labels == 1) + np.sum(predictions == 1)
    return float(2 * hits / marked) if marked else 0.0


def mcc(labels: Array, predictions: Array) -> float:
    """Matthews' correlation coefficient of two classes, which is Pearson's of the 0/1 vectors (the phi coefficient)."""
    return pearson(labels, predictions)


def pearson(labels: Array, predictions: Array) -> float:
    """Pearson's correlation."""
    x, y = np.asarray(labels, np.float64), np.asarray(predictions, np.float64)
    # Told by the values: the deviations of a constant from its rounded mean need not be zero.
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))


def spearman(labels: Array, predictions: Array) -> float:
    """Spearman's rank correlation: Pearson's of the ranks, ties sharing their mean rank."""
    return pearson(_ranks(labels), _ranks(predictions))


def _ranks(values: Array) -> Array:
    """From 1, ties sharing their mean: scipy's rankdata in under half its time, of which a page resamples 300,000."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Array = (np.cumsum(count) - (count - 1) / 2)[place]
    return ranks


METRICS: Mapping[str, Metric] = MappingProxyType(
    {"accuracy": accuracy, "f1": f1, "mcc": mcc, "pearson": pearson, "spearman": spearman}
)
# Wang et al. 2019, table 1; the generated task is balanced.
TASK_METRICS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "cola": ("mcc",),
        "sst2": ("accuracy",),
        "mrpc": ("f1", "accuracy"),
        "stsb": ("pearson", "spearman"),
        "qqp": ("f1", "accuracy"),
        "mnli": ("accuracy",),
        "qnli": ("accuracy",),
        "rte": ("accuracy",),
        "wnli": ("accuracy",),
        "synthetic": ("accuracy",),
    }
)


def score(task: str, labels: Array, predictions: Array) -> dict[str, float]:
    """Each of the task's metrics by name."""
    return {name: METRICS[name](labels, predictions) for name in TASK_METRICS[task]}


def headline(task: str, labels: Array, predictions: Array) -> float:
    """One number a task: the mean of its metrics, as GLUE's leaderboard averages them."""
    return float(np.mean([METRICS[name](labels, predictions) for name in TASK_METRICS[task]]))
