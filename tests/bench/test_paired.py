"""Paired statistics against the truth: coverage and level by simulation, tests against enumeration and each other."""

import itertools
import math

import numpy as np
import pytest

from bench.paired import PairedDifference, holm, mcnemar, paired_difference, swap_test

ITEMS, SEEDS = 150, 3


def accuracy(label_N, prediction_N):
    return float(np.mean(label_N == prediction_N))


def experiment(rng, *, shift=0.0, seed_spread=0.5, seeds=SEEDS, items=ITEMS):
    """Two methods on the same items: an item's ease is common to both, each trained model has its own skill."""
    ease_N = rng.normal(1.0, 1.5, items)

    def predictions(skill):
        skill_S = skill + rng.normal(0, seed_spread, (seeds, 1))
        right_SN = rng.random((seeds, items)) < 1 / (1 + np.exp(-(ease_N + skill_S)))
        return right_SN.astype(int)  # the label is always 1

    return np.ones(items, int), predictions(0.0), predictions(shift)


def true_difference(shift, seed_spread=0.5):
    rng = np.random.default_rng(99)
    latent = rng.normal(1.0, 1.5, 400_000) + rng.normal(0, seed_spread, 400_000)
    return float(np.mean(1 / (1 + np.exp(-(latent + shift)))) - np.mean(1 / (1 + np.exp(-latent))))


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize(("shift", "seed_spread"), [(0.0, 0.6), (0.6, 0.6), (0.0, 0.0)])
def test_intervals_cover_the_truth_over_items_and_seeds(shift, seed_spread, seeds):
    """95 of 100 at least, few seeds as well as many, whichever of the two parts of the error is the larger."""
    truth, rng, runs = true_difference(shift, seed_spread), np.random.default_rng(3), 1000
    covered = bounded = 0
    for _ in range(runs):
        label_N, a_SN, b_SN = experiment(rng, shift=shift, seed_spread=seed_spread, seeds=seeds)
        found = paired_difference(label_N, a_SN, b_SN, accuracy, resamples=50)
        low, high = found.interval()
        covered += low <= truth <= high
        bounded += found.lower_bound() <= truth
    # Three standard errors of a binomial share below 0.95.
    assert covered / runs > 0.93
    assert bounded / runs > 0.93
    assert bounded < runs


@pytest.mark.parametrize("seed_spread", [0.5, 2.0, 5.0, 20.0])
def test_a_small_p_of_three_seeds_is_as_rare_as_it_says(seed_spread):
    """At Holm's strictest step of twelve; degrees of freedom at the estimate alone made it up to six times as often."""
    rng, runs, step, hits = np.random.default_rng(9), 20_000, 0.05 / 12, 0
    for by_seed in rng.normal(0, 1, (runs, 1)) + seed_spread * rng.normal(size=(runs, 3)):
        hits += PairedDifference.of(by_seed.tolist(), item_error=1.0, items=277).p_value < step
    assert hits / runs < 1.5 * step  # 1.23 by a simulation of 400,000, three standard errors 0.3


def test_seeds_alone_or_items_alone_would_be_too_narrow():
    """What the sum of both parts is for: with either left out the intervals fail their promise."""
    rng, runs, kept = np.random.default_rng(5), 160, {"items": 0, "seeds": 0}
    for _ in range(runs):
        label_N, a_SN, b_SN = experiment(rng, seed_spread=1.5)
        found = paired_difference(label_N, a_SN, b_SN, accuracy, resamples=100)
        kept["items"] += abs(found.mean) <= 1.976 * found.item_error
    for _ in range(runs):
        # One and the same skill and a large share of items that either method alone gets right.
        label_N = np.ones(40, int)
        liked_N = rng.random(40) < 0.5
        a_SN, b_SN = np.tile(liked_N, (SEEDS, 1)), np.tile(~liked_N, (SEEDS, 1))
        flips_SN = rng.random(a_SN.shape) < 0.05
        found = paired_difference(label_N, (a_SN ^ flips_SN).astype(int), b_SN.astype(int), accuracy, resamples=100)
        kept["seeds"] += abs(found.mean) <= 4.303 * found.seed_error
    assert kept["items"] / runs < 0.85
    assert kept["seeds"] / runs < 0.85


def difference(*, mean, standard_error, freedom):
    return PairedDifference(
        mean=mean,
        by_seed=(mean,),
        standard_error=standard_error,
        freedom=freedom,
        item_error=standard_error,
        seed_error=0.0,
    )


def test_interval_bound_and_p_value_say_the_same():
    from scipy.stats import ttest_1samp

    samples = np.array([0.01, 0.03, -0.005, 0.02, 0.015])
    by_scipy = ttest_1samp(samples, 0.0)
    found = difference(mean=samples.mean(), standard_error=samples.std(ddof=1) / math.sqrt(5), freedom=4)
    assert found.p_value == pytest.approx(by_scipy.pvalue, rel=1e-12)
    assert found.interval(0.9) == pytest.approx(by_scipy.confidence_interval(0.9), rel=1e-12)
    assert found.lower_bound(0.95) == pytest.approx(found.interval(0.9)[0], rel=1e-12)


def test_one_seed_says_nothing_of_others():
    label_N, a_SN, b_SN = experiment(np.random.default_rng(1), seeds=1)
    found = paired_difference(label_N, a_SN, b_SN, accuracy)
    assert found.interval() == (-math.inf, math.inf)
    assert (found.lower_bound(), found.p_value) == (-math.inf, 1.0)


def test_equal_predictions_differ_by_nothing():
    label_N, a_SN, _ = experiment(np.random.default_rng(1))
    found = paired_difference(label_N, a_SN, a_SN.copy(), accuracy)
    assert (found.mean, found.interval(), found.p_value) == (0.0, (0.0, 0.0), 1.0)
    assert swap_test(label_N, a_SN[0], a_SN[0].copy(), accuracy) == 1.0


def test_changing_sides_changes_the_sign():
    label_N, a_SN, b_SN = experiment(np.random.default_rng(2), shift=0.4)
    there, back = (paired_difference(label_N, a, b, accuracy) for a, b in ((a_SN, b_SN), (b_SN, a_SN)))
    assert there.mean == -back.mean and there.by_seed == tuple(-d for d in back.by_seed)
    assert there.standard_error == back.standard_error and there.p_value == back.p_value


def test_mcnemar_by_enumeration():
    """Of n discordant items, the share of all 2^n ways to give them out that is as uneven or more."""
    label_N = np.ones(12, int)
    a_N = np.array([1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0])
    b_N = np.array([0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0])  # six for B, one for A, the rest agree
    ways = [sum(way) for way in itertools.product((0, 1), repeat=7)]
    uneven = sum(abs(2 * wins - 7) >= abs(2 * 6 - 7) for wins in ways) / len(ways)
    assert mcnemar(label_N, a_N, b_N) == pytest.approx(uneven, rel=1e-12)
    assert mcnemar(label_N, a_N, a_N) == 1.0


def test_swapping_pairs_is_mcnemar_where_the_metric_is_accuracy():
    label_N, a_SN, b_SN = experiment(np.random.default_rng(11), shift=1.0)
    exact = mcnemar(label_N, a_SN[0], b_SN[0])
    assert 0.01 < exact < 0.2
    # Twice the smaller tail of 1999 swaps: three standard errors.
    tolerance = 6 * math.sqrt(exact / 2 / 1999)
    assert swap_test(label_N, a_SN[0], b_SN[0], accuracy) == pytest.approx(exact, abs=tolerance)


def test_swapping_pairs_holds_its_level_for_a_correlation():
    """Two predictors of one score, equally good: p below 0.05 about five times of a hundred."""

    def correlation(label_N, prediction_N):
        return float(np.corrcoef(label_N, prediction_N)[0, 1])

    rng, runs, false = np.random.default_rng(8), 60, 0
    for run in range(runs):
        label_N = rng.normal(size=30)
        a_N, b_N = (label_N + rng.normal(size=30) for _ in range(2))
        false += swap_test(label_N, a_N, b_N, correlation, swaps=199, seed=run) < 0.05
    assert false / runs < 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    label_N = rng.normal(size=100)
    a_N, worse_N = label_N + rng.normal(size=100), (label_N + 5 * rng.normal(size=100)) / math.sqrt(13)
    assert swap_test(label_N, a_N, worse_N, correlation) < 0.05


def test_holm():
    """The example of Holm (1979) by hand: 3 p's, multiplied by 3, 2, 1 in their order, never decreasing."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_rejects_what_stepping_down_rejects():
    """By his own procedure: the smallest p's in turn against level / (those left), until one is not below it."""
    rng = np.random.default_rng(13)
    for _ in range(300):
        p_values = (rng.random(rng.integers(1, 9)) ** 4).tolist()
        rejected = set()
        for place, at in enumerate(np.argsort(p_values)):
            if p_values[at] * (len(p_values) - place) >= 0.05:
                break
            rejected.add(int(at))
        assert {at for at, p in enumerate(holm(p_values)) if p < 0.05} == rejected


def test_shapes_that_do_not_pair():
    label_N, a_SN, b_SN = experiment(np.random.default_rng(1))
    for wrong_N, a, b in ((label_N[:-1], a_SN, b_SN), (label_N, a_SN[:1], b_SN), (label_N, a_SN[0], b_SN[0])):
        with pytest.raises(ValueError, match="predictions must be"):
            paired_difference(wrong_N, a, b, accuracy)
