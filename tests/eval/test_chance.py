"""A method is above a constant answer where it knows something of the items, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from eval.chance import over_constant

LABELS = np.random.default_rng(0).permutation([1] * 300 + [0] * 100)


def parts(*predictions: np.ndarray) -> list[dict]:
    return [{"labels": LABELS.tolist(), "predictions": one.tolist()} for one in predictions]


@pytest.mark.parametrize(("task", "best"), [("sst2", 0.75), ("cola", 0.0), ("mrpc", (6 / 7 + 0.75) / 2)])
def test_perfect_answers_are_above_it_by_what_the_constant_misses(task: str, best: float) -> None:
    found = over_constant(task, parts(LABELS, LABELS))
    assert found is not None and found.mean == pytest.approx(1 - best)
    assert found.interval()[0] > 0


@pytest.mark.parametrize("task", ["sst2", "cola", "mrpc", "stsb"])
def test_a_constant_is_not_above_itself(task: str) -> None:
    found = over_constant(task, parts(np.ones(400, int), np.ones(400, int)))
    assert found is not None and found.mean == found.interval()[1] == 0


def test_guesses_at_the_base_rate_are_not_above_it() -> None:
    draw = np.random.default_rng(1)
    found = over_constant("cola", parts(*[(draw.random(400) < 0.75).astype(int) for _ in range(3)]))
    assert found is not None and found.interval()[0] < 0


def test_no_runs_no_answer() -> None:
    assert over_constant("sst2", []) is None
