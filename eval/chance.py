"""Whether a method has learned anything: its scores against one answer given to every item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.paired import PairedDifference, paired_difference
from eval.metrics import headline
from eval.tasks import TASKS

__all__ = ["over_constant"]


def over_constant(task: str, parts: Sequence[Mapping[str, Any]]) -> PairedDifference | None:
    """The headline metric of a method's runs (one a seed, on the same items) over that of the best constant answer.

    A tie among methods of which none is above this says nothing of the methods. None without runs. The constant is the
    commonest label of the items scored (of a score, their mean: no association), which no training could know: the
    comparison is not too kind.
    """
    if not parts:
        return None
    label_N = np.array(parts[0]["labels"])
    prediction_SN = np.array([part["predictions"] for part in parts])
    if TASKS[task].regression:
        answer = label_N.mean()
    else:
        answer = max(np.unique(label_N), key=lambda one: headline(task, label_N, np.full_like(label_N, one)))
    constant_SN = np.full_like(prediction_SN, answer)
    return paired_difference(label_N, constant_SN, prediction_SN, lambda label, told: headline(task, label, told))
