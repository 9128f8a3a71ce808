"""What a comparison could have seen, the sign test, and how the interval fares on noise it was not made for."""

import math

import numpy as np
import pytest
from scipy import stats

from bench.stats import detectable_ratio, detectable_shift, ratio_interval, sign_test

TRIALS = 2000


@pytest.mark.parametrize("rounds", [3, 5, 10, 30])
def test_the_detectable_ratio_is_found_four_times_in_five(rounds: int) -> None:
    """Planted on top of the spread that it was computed from: the interval is clear of 1 in 80% of trials."""
    spread, random = 0.04, np.random.default_rng(rounds)
    planted = math.exp(detectable_shift(spread / math.sqrt(rounds), rounds - 1))
    first_TN = planted * np.exp(random.normal(0, spread / math.sqrt(2), (TRIALS, rounds)))
    second_TN = np.exp(random.normal(0, spread / math.sqrt(2), (TRIALS, rounds)))
    pairs = zip(first_TN.tolist(), second_TN.tolist(), strict=True)
    found = sum(ratio_interval(first, second).low > 1 for first, second in pairs)
    assert found / TRIALS == pytest.approx(0.8, abs=0.03)  # three standard errors of 2,000 trials are 0.027


def test_the_detectable_ratio_reads_the_pairs_spread() -> None:
    """Rounds that drift alike leave the spread of their differences alone; the ratio is that of the shift."""
    logs = np.array([0.01, -0.02, 0.03, -0.01, 0.02])
    drift = np.array([0.0, 0.5, 1.0, 1.5, 2.0])
    told = detectable_ratio(np.exp(drift + logs).tolist(), np.exp(drift).tolist())
    error = stats.sem(logs)
    assert math.log(told) == pytest.approx(detectable_shift(error, 4), rel=1e-9)
    assert detectable_ratio([2.0, 4.0], [1.0, 2.0]) == 1.0, "no spread, nothing hidden"
    assert detectable_ratio([2.0], [1.0]) == math.inf
    assert detectable_ratio([1e300, 1e-300], [1e-300, 1e300]) == math.inf
    with pytest.raises(ValueError, match="paired"):
        detectable_ratio([1.0, 2.0], [1.0])


@pytest.mark.parametrize("freedom", [1, 2, 9, 29, 1000])
def test_the_shift_has_the_power_it_says(freedom: int) -> None:
    """By the noncentral t distribution; many degrees of freedom give the normal's 1.96 + 0.84 errors."""
    for power in (0.5, 0.8, 0.99):
        shift = detectable_shift(0.1, freedom, power=power)
        critical = stats.t.ppf(0.975, freedom)
        assert stats.nct.sf(critical, freedom, shift / 0.1) == pytest.approx(power, abs=1e-6)
    assert detectable_shift(1.0, 10**6) == pytest.approx(1.9600 + 0.8416, abs=1e-3)
    assert detectable_shift(0.0, freedom) == 0.0 and detectable_shift(math.inf, freedom) == math.inf


@pytest.mark.parametrize("rounds", [3, 5, 10, 30])
def test_the_interval_under_heavy_tails(rounds: int) -> None:
    """Student's t noise of three degrees of freedom, for information: the coverage errs on the wide side, if at all."""
    random = np.random.default_rng(100 + rounds)
    numerator_TN = np.exp(0.03 * random.standard_t(3, (TRIALS, rounds)))
    denominator_TN = np.exp(0.03 * random.standard_t(3, (TRIALS, rounds)))
    intervals = [ratio_interval(a, b) for a, b in zip(numerator_TN.tolist(), denominator_TN.tolist(), strict=True)]
    covered = sum(interval.low <= 1 <= interval.high for interval in intervals) / TRIALS
    assert 0.935 <= covered <= 0.985


def test_a_bootstrap_of_three_rounds_lies() -> None:
    """Why there is none: BCa's 95% interval of three rounds covers about 3 times in 4."""
    random = np.random.default_rng(3)
    covered, trials = 0, 400
    for logs in random.normal(0, 0.04, (trials, 3)):
        found = stats.bootstrap((logs,), np.mean, n_resamples=499, method="BCa", rng=random)
        covered += found.confidence_interval.low <= 0 <= found.confidence_interval.high
    assert covered / trials < 0.85


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 2 / 32), (0, 5, 2 / 32), (9, 1, 2 * 11 / 1024), (5, 5, 1.0)],
)
def test_sign_test_by_hand(wins: int, losses: int, p: float) -> None:
    """Twice the binomial tail of a fair coin."""
    assert sign_test(wins, losses) == pytest.approx(p)
