"""Each seed's own test of a difference: two trained models on the same items, whatever other seeds would have given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.paired import mcnemar, swap_test
from bench.record import Record
from eval.compare import paired_runs
from eval.metrics import TASK_METRICS, headline
from eval.tasks import TASKS

__all__ = ["add_seed_tests"]


def add_seed_tests(rows: Sequence[dict[str, Any]], runs: Mapping[str, Sequence[Record]], *, reference: str) -> None:
    """Add to each row's difference, in place, ``p_by_seed`` and the test's name.

    McNemar's exact test where the metric is the accuracy, a paired permutation of predictions elsewhere. Detail behind
    the verdict, which comes of all seeds together.
    """
    for row in rows:
        if row["difference"] is None:
            continue
        task, pairs = row["task"], paired_runs(runs[row["method"]], runs[reference], row["split"])
        exact = TASK_METRICS[task] == ("accuracy",)
        row["difference"]["test_of_each_seed"] = "McNemar" if exact else "paired permutation"
        row["difference"]["p_by_seed"] = [_p_value(task, a, b) for a, b in pairs]


def _p_value(task: str, reference: Mapping[str, Any], part: Mapping[str, Any]) -> float:
    label_N, a_N, b_N = (np.array(it) for it in (part["labels"], reference["predictions"], part["predictions"]))
    if TASK_METRICS[task] == ("accuracy",):
        return mcnemar(label_N, a_N, b_N)

    def metric(labels: np.ndarray, predictions: np.ndarray) -> float:
        return headline(task, labels, predictions)

    return swap_test(label_N, _scaled(task, a_N), _scaled(task, b_N), metric)


def _scaled(task: str, prediction_N: np.ndarray) -> np.ndarray:
    """Scores in standard deviations from their mean, which no correlation sees; classes as they are."""
    if not TASKS[task].regression or np.ptp(prediction_N) == 0:
        return prediction_N
    return (prediction_N - prediction_N.mean()) / prediction_N.std()
