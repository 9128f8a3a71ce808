"""Two methods on the same items and seeds: how far apart, how sure, and how small a difference could be seen.

Shapes: S seeds, N items. Method A's predictions are a_SN, B's b_SN; label_N belongs to both. The metric maps
(label_N, prediction_N) to a number, and the difference of a seed is d_s = metric(b_s) - metric(a_s).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, stdtr, stdtrit
from scipy.stats import bootstrap, permutation_test

from bench.stats import sign_test

__all__ = ["PairedDifference", "holm", "mcnemar", "paired_difference", "swap_test"]

Array = NDArray[Any]
Metric = Callable[[Array, Array], float]

# Of the bound on the seeds' part, see `_freedom`.
_SURE = 0.9


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """A mean difference B - A of some metric, in the metric's unit, with its standard error and degrees of freedom.

    Where one seed says nothing of other seeds, the error is infinite, and so are all intervals.
    """

    mean: float
    """Over seeds."""
    by_seed: tuple[float, ...]
    standard_error: float
    freedom: float
    """Of Student's t, by Welch and Satterthwaite, fewer where the seeds' part may be larger than it looks."""
    item_error: float
    """The part of the standard error that comes of the items drawn."""
    seed_error: float
    """The part that comes of the seeds drawn."""

    @classmethod
    def of(cls, by_seed: Sequence[float], item_error: float, items: int) -> Self:
        """From each seed's difference, and the standard error of their mean over other draws of as many items."""
        seeds = len(by_seed)
        seed_error = stdev(by_seed) / math.sqrt(seeds) if seeds > 1 else math.inf
        total = math.hypot(item_error, seed_error)
        known = 0 < total < math.inf
        return cls(
            mean=fmean(by_seed),
            by_seed=tuple(by_seed),
            standard_error=total,
            freedom=_freedom(item_error, items - 1, seed_error, seeds - 1) if known else math.inf,
            item_error=item_error,
            seed_error=seed_error,
        )

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Two-sided."""
        half = self._quantile((1 + confidence) / 2)
        return self.mean - half, self.mean + half

    def lower_bound(self, confidence: float = 0.95) -> float:
        """One-sided: B is not worse than A by more than this, where negative. B is non-inferior to A at a margin m
        where it is above -m."""
        return self.mean - self._quantile(confidence)

    @property
    def p_value(self) -> float:
        """Two-sided, of no difference between the methods, over items and seeds both."""
        if self.standard_error == 0:
            return 1.0 if self.mean == 0 else 0.0
        if math.isinf(self.standard_error):
            return 1.0
        return float(2 * stdtr(self.freedom, -abs(self.mean) / self.standard_error))

    def _quantile(self, probability: float) -> float:
        if self.standard_error == 0 or math.isinf(self.standard_error):
            return self.standard_error
        return float(stdtrit(self.freedom, probability) * self.standard_error)


def paired_difference(
    label_N: Array, a_SN: Array, b_SN: Array, metric: Metric, *, resamples: int = 1000, seed: int = 0
) -> PairedDifference:
    """The mean difference over seeds, with an error that covers other items and other seeds.

    Model: d_s = delta + i + e_s. The items' part i is common to all seeds, since all are scored on the same items; e_s
    is the seed's own, its share of item noise included. The spread of the d_s around their mean estimates e alone, so
    var(e) / S is one part of the error. The other, var(i), is what a bootstrap over items, the seeds' predictions held
    together, shows of the mean difference. The parts are added; since the bootstrap also moves with e's item noise, the
    sum is rather wide than narrow. A bootstrap over seeds would be too narrow: three seeds have ten distinct resamples.
    The degrees of freedom come from N - 1 and S - 1, see ``_freedom``. Coverage is tested by simulation.

    Raises ValueError for shapes that do not pair.
    """
    _check(label_N, a_SN, b_SN)
    by_seed = [metric(label_N, b_N) - metric(label_N, a_N) for a_N, b_N in zip(a_SN, b_SN, strict=True)]
    return PairedDifference.of(by_seed, _item_error(label_N, a_SN, b_SN, metric, resamples, seed), len(label_N))


def _freedom(item_error: float, of_items: int, seed_error: float, of_seeds: int) -> float:
    """Welch and Satterthwaite's degrees of freedom, at the largest that the seeds' part is likely to be.

    At the part as it was read, few seeds that agree by luck would give the sum the many degrees of the items, just
    where the sum is too small: intervals of two seeds cover 88 times in 100, and the p of three is below 0.05 / 12, a
    step of Holm's, six times as often as that. So the part is taken at its one-sided upper 90% bound (chi-squared).
    """
    likely = seed_error**2 * of_seeds / chdtri(of_seeds, _SURE)
    return float((item_error**2 + likely) ** 2 / (item_error**4 / of_items + likely**2 / of_seeds))


def _item_error(label_N: Array, a_SN: Array, b_SN: Array, metric: Metric, resamples: int, seed: int) -> float:
    """Standard deviation, over resampled items, of the mean difference."""
    if np.array_equal(a_SN, b_SN):
        return 0.0

    def mean_difference(at: Array) -> float:
        label = label_N[at]
        return float(np.mean([metric(label, b[at]) - metric(label, a[at]) for a, b in zip(a_SN, b_SN, strict=True)]))

    found = bootstrap(
        (np.arange(len(label_N)),),
        mean_difference,
        n_resamples=resamples,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(found.standard_error)


def mcnemar(label_N: Array, a_N: Array, b_N: Array) -> float:
    """McNemar's exact test of two trained classifiers on the same items: two-sided p of equal accuracy.

    It is the sign test over the items that one of them alone gets right (McNemar, 1947).
    """
    only_a = int(np.sum((a_N == label_N) & (b_N != label_N)))
    only_b = int(np.sum((b_N == label_N) & (a_N != label_N)))
    return sign_test(only_b, only_a)


def swap_test(label_N: Array, a_N: Array, b_N: Array, metric: Metric, *, swaps: int = 1999, seed: int = 0) -> float:
    """Paired permutation test of two trained models, for a metric that is no mean over items: two-sided p.

    Under the null either prediction of an item could have been the other model's, so each pair is swapped or not. That
    asks for predictions on one scale: standardise scores first, where the metric does not see their scale.
    """
    if np.array_equal(a_N, b_N):
        return 1.0
    at_N = np.arange(len(label_N))

    def difference(first: Array, second: Array) -> float:
        # Index i < N stands for A's prediction of item i, N + i for B's.
        both = np.concatenate((a_N, b_N))
        return metric(label_N, both[second]) - metric(label_N, both[first])

    found = permutation_test(
        (at_N, at_N + len(at_N)),
        difference,
        permutation_type="samples",
        vectorized=False,
        n_resamples=swaps,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: compared with 0.05 they keep the chance of any false claim among them below it."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, worst = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = worst
    return adjusted


def _check(label_N: Array, a_SN: Array, b_SN: Array) -> None:
    if a_SN.shape != b_SN.shape or a_SN.ndim != 2 or a_SN.shape[1:] != label_N.shape:
        raise ValueError(
            f"predictions must be (seeds, items) of equal shape and the labels (items,), got {a_SN.shape}, "
            f"{b_SN.shape} and {label_N.shape}"
        )
    if a_SN.shape[0] < 1 or a_SN.shape[1] < 2:
        raise ValueError(f"one seed and two items at least, got {a_SN.shape}")
