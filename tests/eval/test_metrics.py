"""GLUE's metrics against their textbook formulas and scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.paired import paired_difference
from eval.metrics import TASK_METRICS, accuracy, f1, headline, mcc, pearson, score, spearman
from eval.tasks import TASKS

classes = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=2, max_size=40)


@given(classes)
def test_mcc_and_f1_by_the_confusion_matrix(pairs):
    labels, predictions = map(np.array, zip(*pairs, strict=True))
    tp, fp, fn, tn = (sum(pair == want for pair in pairs) for want in ((1, 1), (0, 1), (1, 0), (0, 0)))
    below = float((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5
    assert mcc(labels, predictions) == pytest.approx((tp * tn - fp * fn) / below if below else 0.0, abs=1e-12)
    assert f1(labels, predictions) == pytest.approx(2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0)
    assert accuracy(labels, predictions) == pytest.approx((tp + tn) / len(pairs))


def test_correlations_are_scipys():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 50).astype(float)  # with ties
    predictions = labels**3 + rng.normal(size=50)
    assert pearson(labels, predictions) == pytest.approx(stats.pearsonr(labels, predictions).statistic, rel=1e-12)
    assert spearman(labels, predictions) == pytest.approx(stats.spearmanr(labels, predictions).statistic, rel=1e-12)


def test_a_constant_prediction_has_no_association():
    labels = np.array([0.1, 0.7, 0.3])
    for constant in (0.0, 0.1, 1e9):
        assert pearson(labels, np.full(3, constant)) == spearman(labels, np.full(3, constant)) == 0.0
    assert mcc(np.array([0, 1, 1]), np.array([1, 1, 1])) == 0.0


def test_every_task_has_its_metrics_and_one_headline():
    assert TASK_METRICS.keys() == TASKS.keys()
    labels, predictions = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])
    assert score("mrpc", labels, predictions) == {"f1": pytest.approx(2 / 3), "accuracy": 0.75}
    assert headline("mrpc", labels, predictions) == pytest.approx((2 / 3 + 0.75) / 2)
    assert headline("sst2", labels, predictions) == 0.75


@pytest.mark.parametrize("metric", [mcc, pearson, spearman])
def test_intervals_of_a_difference_cover_the_truth_of_metrics_that_are_no_means(metric):
    """Equally good predictors of one score, whose noise differs by seed; cut in two for the metric of classes."""
    rng, runs, covered = np.random.default_rng(4), 300, 0
    for _ in range(runs):
        label_N, common_N = rng.normal(size=(2, 150))
        noise_MSN = np.exp(rng.normal(0, 0.4, (2, 3, 1))) * rng.normal(size=(2, 3, 150))
        told_MSN = label_N + 0.6 * (common_N + noise_MSN)
        if metric is mcc:
            label_N, told_MSN = (label_N > 0).astype(int), (told_MSN > 0).astype(int)
        low, high = paired_difference(label_N, told_MSN[0], told_MSN[1], metric, resamples=50).interval()
        covered += low <= 0 <= high
    assert covered / runs > 0.912  # three standard errors of a binomial share below 0.95
