"""What a comparison could have seen, the sign test, and how the interval fares on noise it was not made for."""

import math

import numpy as np
import pytest
from scipy import stats

from bench.stats import detectable_ratio, detectable_shift, noise_floor, ratio_interval, sign_test, verdict

TRIALS = 2000


@pytest.mark.parametrize("rounds", [3, 5, 10, 30])
def test_the_detectable_ratio_is_told_four_times_in_five(rounds: int) -> None:
    """As a run prints it: read off the A/A pair, planted in a method beside the same baseline, then the verdict."""
    random, faster, slower = np.random.default_rng(rounds), 0, 0
    for _ in range(TRIALS):
        full, twin, method = np.exp(random.normal(0, 0.03, (3, rounds)))
        planted = detectable_ratio(full.tolist(), twin.tolist())
        floor = noise_floor(ratio_interval(full.tolist(), twin.tolist()))
        faster += verdict(ratio_interval((full * planted).tolist(), method.tolist()), floor) == "faster"
        slower += verdict(ratio_interval((full / planted).tolist(), method.tolist()), floor) == "slower"
    for told in (faster, slower):  # the two pairs share a baseline, which makes it a little surer at few rounds
        assert 0.77 <= told / TRIALS <= 0.86


def test_the_detectable_ratio_reads_the_pairs_spread_and_its_noise() -> None:
    """Rounds that drift alike leave the spread of their differences alone; beyond that stands the pair's own gap."""
    logs = np.array([0.01, -0.02, 0.03, -0.01, 0.02])
    drift = np.array([0.0, 0.5, 1.0, 1.5, 2.0])
    told = detectable_ratio(np.exp(drift + logs).tolist(), np.exp(drift).tolist())
    error, low = stats.sem(logs), stats.ttest_1samp(logs, 0).confidence_interval(0.95).high
    assert math.log(told) == pytest.approx(detectable_shift(error, 4, floor=low), rel=1e-9)
    assert math.log(told) > low > detectable_shift(0.0, 4)
    assert detectable_ratio([2.0, 4.0], [2.0, 4.0]) == 1.0, "no spread, nothing hidden"
    assert detectable_ratio([2.0, 4.0], [1.0, 2.0]) == pytest.approx(2.0), "a pair that differs hides as much"
    assert detectable_ratio([2.0], [1.0]) == math.inf
    assert detectable_ratio([1e300, 1e-300], [1e-300, 1e300]) == math.inf
    with pytest.raises(ValueError, match="paired"):
        detectable_ratio([1.0, 2.0], [1.0])


@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("freedom", [1, 2, 9, 29])
def test_the_shift_has_the_power_it_says(freedom: int, power: float) -> None:
    """Read off one run's error, planted in another's: over both draws."""
    random, draws = np.random.default_rng(freedom), 4000
    here, there = np.sqrt(random.chisquare(freedom, (2, draws)) / freedom)
    unit = detectable_shift(1.0, freedom, power=power)
    assert detectable_shift(0.1, freedom, power=power) == pytest.approx(0.1 * unit, rel=1e-6)
    found = unit * here + random.normal(size=draws) > stats.t.ppf(0.975, freedom) * there
    assert found.mean() == pytest.approx(power, abs=0.025)  # three standard errors and the quadrature


def test_the_ends_of_the_shift() -> None:
    """A known error gives the normal's 1.96 + 0.84; none leaves the floor; beyond a floor all that matters is it."""
    assert detectable_shift(1.0, math.inf) == pytest.approx(1.9600 + 0.8416, abs=1e-3)
    assert detectable_shift(1.0, 10**6) == pytest.approx(1.9600 + 0.8416, abs=1e-2)
    assert detectable_shift(1.0, math.inf, confidence=0.99) == pytest.approx(2.5758 + 0.8416, abs=1e-3)
    assert detectable_shift(0.01, math.inf, floor=1.0) == pytest.approx(1.0 + 0.008416, abs=1e-5)
    assert detectable_shift(0.0, 3) == 0.0 and detectable_shift(0.0, 3, floor=0.2) == 0.2
    assert detectable_shift(math.inf, 3) == math.inf


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
