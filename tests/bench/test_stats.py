"""The interval is what it says: coverage against the truth, and scipy as the outside reference."""

import math

import numpy as np
import pytest
from scipy import stats

from bench.stats import RatioInterval, noise_floor, ratio_interval, verdict


@pytest.mark.parametrize("rounds", [3, 5, 10, 30])
def test_interval_covers_the_true_ratio_95_times_in_100(rounds):
    truth, trials = 1.3, 2000
    random = np.random.default_rng(rounds)
    drift_TN = random.normal(0, 0.5, (trials, rounds)).cumsum(axis=1)  # the machine's, common to both
    numerator_TN = truth * np.exp(drift_TN + random.normal(0, 0.03, (trials, rounds)))
    denominator_TN = np.exp(drift_TN + random.normal(0, 0.05, (trials, rounds)))
    covered = 0
    for numerator, denominator in zip(numerator_TN, denominator_TN, strict=True):
        interval = ratio_interval(numerator, denominator)
        covered += interval.low <= truth <= interval.high
    assert 0.93 <= covered / trials <= 0.97


@pytest.mark.parametrize("rounds", [2, 3, 7, 40])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_interval_equals_scipy_t_test_on_log_ratios(rounds, confidence):
    random = np.random.default_rng(rounds)
    numerator, denominator = random.lognormal(1, 0.4, (2, rounds))
    ours = ratio_interval(numerator.tolist(), denominator.tolist(), confidence=confidence)
    logs = np.log(numerator / denominator)
    theirs = stats.ttest_1samp(logs, 0).confidence_interval(confidence)
    assert math.log(ours.low) == pytest.approx(theirs.low, rel=1e-12, abs=1e-12)
    assert math.log(ours.high) == pytest.approx(theirs.high, rel=1e-12, abs=1e-12)
    assert ours.mean == pytest.approx(stats.gmean(numerator / denominator), rel=1e-12)
    assert ours.rounds == rounds


def test_swapping_the_sides_inverts_the_interval():
    a, b = [1.0, 2.0, 4.5], [3.0, 2.5, 4.0]
    forward, backward = ratio_interval(a, b), ratio_interval(b, a)
    assert (1 / forward.mean, 1 / forward.high, 1 / forward.low) == pytest.approx(
        (backward.mean, backward.low, backward.high)
    )


def test_equal_ratios_leave_no_width():
    interval = ratio_interval([2.0, 4.0, 8.0], [1.0, 2.0, 4.0])
    assert (interval.mean, interval.low, interval.high) == pytest.approx((2, 2, 2), rel=1e-14)


def test_one_round_says_nothing_of_its_uncertainty():
    interval = ratio_interval([3.0], [2.0])
    assert (interval.low, interval.high, interval.rounds) == (0.0, math.inf, 1)
    assert interval.as_json() == {"mean": pytest.approx(1.5), "low": 0.0, "high": None, "rounds": 1}


def test_an_interval_too_wide_for_a_float_is_infinite():
    interval = ratio_interval([1e300, 1e-300], [1.0, 1.0])
    assert interval.mean == pytest.approx(1)
    assert (interval.low, interval.high) == (0.0, math.inf)


def test_json_keeps_finite_numbers():
    interval = RatioInterval(mean=1.5, low=1.25, high=1.75, rounds=4)
    assert interval.as_json() == {"mean": 1.5, "low": 1.25, "high": 1.75, "rounds": 4}


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_samples_must_be_positive_and_finite(bad, side):
    sides = [[1.0, 2.0], [1.0, 2.0]]
    sides[side][1] = bad
    with pytest.raises(ValueError, match="positive and finite"):
        ratio_interval(*sides)


def test_rounds_must_be_paired():
    with pytest.raises(ValueError, match="paired: 2 numerators, 3 denominators"):
        ratio_interval([1.0, 2.0], [1.0, 2.0, 3.0])


def test_no_rounds_have_no_ratio():
    with pytest.raises(ValueError, match="no rounds"):
        ratio_interval([], [])


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_confidence_is_a_share(confidence):
    with pytest.raises(ValueError, match="between 0 and 1"):
        ratio_interval([1.0, 2.0], [1.0, 2.0], confidence=confidence)


@pytest.mark.parametrize(
    ("low", "high", "floor"),
    [
        (0.9, 1.05, -math.log(0.9)),
        (0.98, 1.2, math.log(1.2)),
        (1.01, 1.02, math.log(1.02)),
        (0.0, math.inf, math.inf),
    ],
)
def test_noise_floor_is_the_end_farther_from_one(low, high, floor):
    assert noise_floor(RatioInterval(mean=1.0, low=low, high=high, rounds=3)) == pytest.approx(floor)


@pytest.mark.parametrize(
    ("mean", "low", "high", "floor", "expected"),
    [
        (1.5, 1.4, 1.6, 0.1, "faster"),
        (0.5, 0.4, 0.6, 0.1, "slower"),
        (1.5, 0.9, 2.5, 0.1, "~"),  # not clear of 1
        (0.5, 0.2, 1.1, 0.1, "~"),
        (1.05, 1.04, 1.06, 0.1, "~"),  # clear of 1, inside the noise
        (0.95, 0.94, 0.96, 0.1, "~"),
        (1.5, 1.0, 2.0, 0.1, "~"),  # touching 1 is not clear of it
        (1.5, 1.4, 1.6, math.inf, "~"),  # an A/A pair that says nothing
        (1.5, 0.0, math.inf, 0.0, "~"),
    ],
)
def test_verdict(mean, low, high, floor, expected):
    assert verdict(RatioInterval(mean=mean, low=low, high=high, rounds=5), floor) == expected
