"""Confidence intervals over questions: whole questions are drawn, because a question's turns are not independent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

__all__ = ["FEWEST", "Interval", "Statistic", "bootstrap", "mean_interval"]

Statistic = Callable[[NDArray[np.int64]], NDArray[np.float64]]
"""(resamples, questions) indices -> (resamples,) values; NaN where a resample has none."""

# Below this the resamples of so few questions say nothing of their spread: no interval is told.
FEWEST = 5


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A figure with its 95% confidence interval; ``low`` and ``high`` are None where there are too few questions."""

    value: float | None
    """None where nothing was scored."""
    low: float | None
    high: float | None
    questions: int


def bootstrap(
    questions: int, statistic: Statistic, *, seed: int = 0, confidence: float = 0.95, resamples: int = 10_000
) -> Interval:
    """The expanded percentile interval of ``statistic`` under resampling of ``questions`` questions.

    The percentile interval of n draws is too narrow by about sqrt((n - 1)/n) and by the normal quantile where Student's
    belongs; both are put right in the tail that is cut off,

        alpha'/2 = Phi(-sqrt(n / (n - 1)) t_{1 - alpha/2, n - 1})

    (Hesterberg, What Teachers Should Know About the Bootstrap, 2015, section 4.1.2). Coverage is tested by simulation.
    """
    if questions == 0:
        return Interval(value=None, low=None, high=None, questions=0)
    everything = np.arange(questions)[None, :]
    value = float(statistic(everything)[0])
    if not np.isfinite(value):
        return Interval(value=None, low=None, high=None, questions=questions)
    if questions < FEWEST:
        return Interval(value=value, low=None, high=None, questions=questions)
    draws = np.random.default_rng(seed).integers(questions, size=(resamples, questions))
    values = statistic(draws)
    scale = np.sqrt(questions / (questions - 1)) * stdtrit(questions - 1, (1 + confidence) / 2)
    tail = float(ndtr(-scale))
    low, high = np.nanquantile(values, [tail, 1 - tail]).tolist()
    return Interval(value=value, low=low, high=high, questions=questions)


def mean_interval(means: NDArray[np.float64], *, seed: int = 0) -> Interval:
    """The mean over questions of one figure a question."""
    return bootstrap(len(means), lambda drawn: means[drawn].mean(axis=1), seed=seed)
