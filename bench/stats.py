"""Ratios of paired samples: how much faster, how sure, and whether it is more than the machine's noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, stdtrit
from scipy.stats import binomtest, chi2

__all__ = [
    "RatioInterval",
    "detectable_ratio",
    "detectable_shift",
    "noise_floor",
    "ratio_interval",
    "sign_test",
    "verdict",
]

_POWER = 0.8
# Of a distribution, by which an expectation is taken; a hundred are right to a quarter of a per cent of power.
_SHARES = 100
# Standard deviations below which next to nothing falls.
_SURELY = 10.0


@dataclass(frozen=True, kw_only=True)
class RatioInterval:
    """A ratio and its confidence interval; all are plain factors without unit."""

    mean: float
    """Geometric mean of the per-round ratios."""
    low: float
    """Lower end; 0 where too few rounds say nothing."""
    high: float
    """Upper end; inf where too few rounds say nothing."""
    rounds: int
    """Pairs of samples behind it."""

    def as_json(self) -> dict[str, float | int | None]:
        """The same as JSON types: what is not finite was not measured, and is None."""
        ends = {"mean": self.mean, "low": self.low, "high": self.high}
        return {**{name: x if math.isfinite(x) else None for name, x in ends.items()}, "rounds": self.rounds}


def ratio_interval(
    numerator: Sequence[float], denominator: Sequence[float], *, confidence: float = 0.95
) -> RatioInterval:
    """Student's t interval of numerator / denominator from paired rounds.

    Model of round i: log numerator_i = a + m_i + e_i and log denominator_i = b + m_i + f_i, where m_i is what
    the machine did in that round to both. The differences d_i = (a - b) + (e_i - f_i) are free of m_i, so
    their mean estimates the log ratio a - b, and

        (mean(d) - (a - b)) / (std(d) / sqrt(n)) follows Student's t with n - 1 degrees of freedom,

    exactly at every n when the d_i are independent and normal (Student, 1908). Resampling few rounds does not
    get there: a bootstrap of three has ten distinct samples and is far too narrow. Coverage is tested by
    simulation.

    Both sequences hold one positive number a round, in the same unit and the same order. One round gives
    (mean, 0, inf). Raises ValueError for no rounds, unequal lengths, and samples that are not positive and
    finite.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: between 0 and 1 expected, got {confidence}")
    d = _log_ratios(numerator, denominator)
    n = len(d)
    half = math.inf  # one round has no spread
    if n > 1:
        half = stdtrit(n - 1, (1 + confidence) / 2) * d.std(ddof=1) / math.sqrt(n)
    with np.errstate(over="ignore"):  # a log interval too wide for a float is an infinite one
        mean, low, high = np.exp(d.mean() + np.array([0, -half, half])).tolist()
    return RatioInterval(mean=mean, low=low, high=high, rounds=n)


def _log_ratios(numerator: Sequence[float], denominator: Sequence[float]) -> NDArray[np.float64]:
    """log numerator - log denominator of each round; ValueError for what cannot be paired or is no measurement."""
    if len(numerator) != len(denominator):
        given = f"{len(numerator)} numerators, {len(denominator)} denominators"
        raise ValueError(f"rounds must be paired: {given}")
    if len(numerator) == 0:
        raise ValueError("no rounds: a ratio needs at least one pair of samples")
    samples = np.array([numerator, denominator], dtype=np.float64)
    measured = np.isfinite(samples) & (samples > 0)
    if not measured.all():
        raise ValueError(f"samples must be positive and finite, got {samples[~measured].tolist()}")

    return np.log(samples[0]) - np.log(samples[1])


def noise_floor(aa: RatioInterval) -> float:
    """What the machine shows between two runs of the same thing, as a log ratio: the end of the A/A pair's
    interval that lies farther from 1. Infinite where the A/A pair has too few rounds."""
    if aa.low <= 0 or not math.isfinite(aa.high):
        return math.inf
    return max(abs(math.log(aa.low)), abs(math.log(aa.high)))


def verdict(interval: RatioInterval, floor: float) -> Literal["faster", "slower", "~"]:
    """What may be said of a ratio of SPEEDS, method over full: above 1 the method is faster.

    (From times that is full over method.) A side is taken only where the interval is clear of 1 and the mean
    is farther from 1 than the A/A noise: |log mean| > floor, with `floor` from `noise_floor`. Else `~`.
    """
    if interval.low > 1 and math.log(interval.mean) > floor:
        return "faster"
    if interval.high < 1 and -math.log(interval.mean) > floor:
        return "slower"
    return "~"


def detectable_shift(
    standard_error: float, freedom: float, *, floor: float = 0.0, confidence: float = 0.95, power: float = _POWER
) -> float:
    """The smallest true difference that another run like this one finds with that power, in the unit of the error.

    Found is a mean beyond ``floor`` whose two-sided interval is clear of 0. This run's error e is an estimate: of the
    true one it tells sigma = e / sqrt(chi2 / freedom), and another run reads s = sigma sqrt(chi2' / freedom), with two
    independent chi2. With t the interval's quantile,

        power(D) = E[ Phi((D - max(floor, t s)) / sigma) ],

    the expectation by midpoints of equal shares of both. To take e for sigma would promise too much: of three rounds,
    65 finds in 100 for 80. An error of 0 leaves the floor; of an infinite one, or floor, the answer is infinite.
    """
    if standard_error == 0 or math.isinf(max(floor, standard_error)):
        return max(floor, standard_error)
    shares = (np.arange(_SHARES) + 0.5) / _SHARES
    scales = np.sqrt(chi2.ppf(shares, freedom) / freedom) if math.isfinite(freedom) else np.ones(1)
    sigma = standard_error / scales[:, None]
    needed = np.maximum(floor, stdtrit(freedom, (1 + confidence) / 2) * sigma * scales)
    highest = needed.max() + _SURELY * sigma.max()
    return float(brentq(lambda true: ndtr((true - needed) / sigma).mean() - power, 0.0, highest))


def detectable_ratio(first: Sequence[float], second: Sequence[float], *, power: float = _POWER) -> float:
    """The smallest true ratio of two speeds of which ``verdict`` tells the side with that power, in a comparison of as
    many rounds and as much spread as this A/A pair's, beyond this pair's noise: a factor above 1 (its inverse on the
    other side); inf from one round.

    Arguments and errors as ``ratio_interval``'s. An answer of ``~`` says: if there is a difference, it is likely below.
    """
    d = _log_ratios(first, second)
    n = len(d)
    if n == 1:
        return math.inf
    floor = noise_floor(ratio_interval(first, second))
    shift = detectable_shift(float(d.std(ddof=1)) / math.sqrt(n), n - 1, floor=floor, power=power)
    return math.exp(shift) if shift < math.log(np.finfo(np.float64).max) else math.inf


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p of the exact sign test: either side is as likely to win a pair; ties are left out by the caller."""
    return 1.0 if wins + losses == 0 else float(binomtest(wins, wins + losses).pvalue)
