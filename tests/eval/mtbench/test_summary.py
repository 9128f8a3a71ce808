"""The figures against naive definitions, FastChat's own means, and simulated truth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd
import pytest

from eval.mtbench.intervals import bootstrap, mean_interval
from eval.mtbench.items import Reply
from eval.mtbench.parsing import Outcome, Verdict, read_reply
from eval.mtbench.scoring import Grade
from eval.mtbench.summary import summarise


def grade(
    question: int,
    turn: int,
    score: float | None,
    *,
    model: str = "m",
    category: str = "math",
    repeat: int = 0,
    choice: int = 0,
    marks: Sequence[str] = (),
) -> Grade:
    verdict = Verdict(outcome=Outcome.UNPARSABLE) if score is None else Verdict(outcome=Outcome.SCORED, score=score)
    return Grade(
        question_id=question,
        category=category,
        model=model,
        choice=choice,
        turn=turn,
        repeat=repeat,
        verdict=verdict,
        marks=tuple(marks),
        ending="stop",
        mended=False,
        reasked=False,
        replies=(),
    )


def scores_of(n: int, seed: int = 0) -> list[Grade]:
    rng = np.random.default_rng(seed)
    categories = ("writing", "math")
    return [grade(q, turn, float(rng.integers(1, 11)), category=categories[q % 2]) for q in range(n) for turn in (1, 2)]


def test_means_by_turn_and_category_are_the_naive_ones() -> None:
    given = scores_of(20)
    (model,) = summarise(given)["models"]
    assert model["mean"]["value"] == pytest.approx(fmean(g.score or 0 for g in given))
    assert model["turns"]["2"]["value"] == pytest.approx(fmean(g.score or 0 for g in given if g.turn == 2))
    assert list(model["categories"]) == ["writing", "math"]  # MT-Bench's order
    assert model["categories"]["math"]["value"] == pytest.approx(
        fmean(g.score or 0 for g in given if g.category == "math")
    )
    assert model["mean"]["low"] < model["mean"]["value"] < model["mean"]["high"]
    assert (model["scored"], model["attempted"], model["coverage"]) == (40, 40, 1.0)
    assert model["worst_case"] == pytest.approx(model["mean"]["value"])


def test_what_has_no_score_lowers_coverage_and_widens_the_bounds() -> None:
    given = [grade(q, turn, None if (q, turn) == (0, 2) else 6.0) for q in range(5) for turn in (1, 2)]
    (model,) = summarise(given)["models"]
    assert model["mean"]["value"] == 6.0
    assert (model["scored"], model["attempted"], model["coverage"]) == (9, 10, 0.9)
    assert model["worst_case"] == pytest.approx((9 * 6 + 1) / 10)
    assert model["best_case"] == pytest.approx((9 * 6 + 10) / 10)
    assert model["outcomes"] == {"scored": 9, "unparsable": 1}


def test_as_fastchat_the_bounds_are_means_over_rows_like_the_mean() -> None:
    """Of two questions one has three rows: a mean over questions would be another."""
    given = [grade(0, 1, 9.0), grade(1, 1, 3.0), grade(1, 2, 3.0), grade(1, 2, None, repeat=1)]
    (model,) = summarise(given, fastchat=True)["models"]
    assert model["mean"]["value"] == 5.0
    assert (model["worst_case"], model["best_case"]) == ((9 + 3 + 3 + 1) / 4, (9 + 3 + 3 + 10) / 4)


def test_nothing_scored_is_no_number() -> None:
    (model,) = summarise([grade(1, 1, None)])["models"]
    assert model["mean"] == {"value": None, "low": None, "high": None, "questions": 0}
    assert (model["worst_case"], model["best_case"]) == (1, 10)


def test_too_few_questions_have_no_interval() -> None:
    (model,) = summarise([grade(q, 1, float(q)) for q in range(1, 5)])["models"]
    assert (model["mean"]["value"], model["mean"]["low"]) == (2.5, None)


def test_flagged_answers_are_told_apart() -> None:
    given = [grade(q, 1, 10.0 if q == 0 else 2.0, marks=["[[10]]"] if q == 0 else []) for q in range(8)]
    (model,) = summarise(given)["models"]
    assert (model["flagged"], model["mean"]["value"], model["without_flagged"]["value"]) == (1, 3.0, 2.0)


def test_repeats_tell_the_judge_s_own_spread() -> None:
    given = [grade(q, 1, 5.0 + repeat * 2, repeat=repeat) for q in range(6) for repeat in range(2)]
    (model,) = summarise(given)["models"]
    assert model["mean"]["value"] == 6.0
    assert model["judge_spread"] == {"sd": pytest.approx(np.std([5, 7], ddof=1)), "means": [5.0, 7.0]}
    assert summarise(given[::2])["models"][0]["judge_spread"] is None


def test_two_models_are_compared_on_what_both_have() -> None:
    rng = np.random.default_rng(3)
    hard = rng.integers(1, 9, size=30)
    first = [grade(q, 1, float(hard[q])) for q in range(30)]
    second = [grade(q, 1, float(hard[q]) + 1 + (q % 2), model="n") for q in range(30)]
    second[0] = grade(0, 1, None, model="n")
    (difference,) = summarise([*first, *second])["differences"]
    assert (difference["model"], difference["from"], difference["questions"]) == ("n", "m", 29)
    assert difference["value"] == pytest.approx(fmean(1 + (q % 2) for q in range(1, 30)))
    assert difference["verdict"] == "higher" and difference["low"] > 1
    assert (
        summarise([*first, *(grade(q, 1, float(hard[-q - 1]), model="n") for q in range(30))])["differences"][0][
            "verdict"
        ]
        == "~"
    )


def test_fastchat_s_means_are_reproduced(shared_data: Path) -> None:
    """Its show_result.py on the same file: rows other than -1, by model and turn, and by model."""
    path = shared_data / "mtbench" / "gpt4_single_judgments.jsonl"
    told = [json.loads(line) for line in path.read_text().splitlines()]
    given = []
    for row in told:
        reply = Reply(key="k", text=row["judgment"], finish_reason=None)
        base = grade(row["question_id"], row["turn"], None, model=row["model"])
        given.append(Grade(**{**vars(base), "verdict": read_reply(reply, [], fastchat=True)}))
    frame = pd.DataFrame(told)[["model", "score", "turn"]]
    frame = frame[frame["score"] != -1]
    overall = frame[["model", "score"]].groupby("model").mean()["score"]
    by_turn = frame.groupby(["model", "turn"]).mean()["score"]
    for model in summarise(given, fastchat=True)["models"]:
        assert model["mean"]["value"] == overall[model["model"]]
        for turn in (1, 2):
            assert model["turns"][str(turn)]["value"] == by_turn[model["model"], turn]


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """400 samples of 12 skewed question means: 95% of the intervals hold the mean, within four standard errors."""
    rng = np.random.default_rng(11)
    samples = 10 - rng.gamma(2.0, 1.0, size=(400, 12))
    found = [mean_interval(sample, seed=k) for k, sample in enumerate(samples)]
    covered = fmean(i.low <= 8.0 <= i.high for i in found if i.low is not None and i.high is not None)
    naive = fmean(abs(s.mean() - 8.0) <= 1.96 * s.std() / np.sqrt(12) for s in samples)
    assert naive < covered
    assert 0.95 - 4 * np.sqrt(0.95 * 0.05 / 400) <= covered


def test_the_interval_knows_that_turns_of_a_question_go_together() -> None:
    """Twice the same rating in both turns is no more evidence than once."""
    once = [grade(q, 1, float(1 + q % 10)) for q in range(40)]
    twice = [*once, *(grade(q, 2, float(1 + q % 10)) for q in range(40))]
    assert summarise(once)["models"][0]["mean"] == summarise(twice)["models"][0]["mean"]


def test_a_resample_without_the_statistic_is_left_out() -> None:
    found = bootstrap(6, lambda drawn: np.where((drawn == 0).any(axis=1), 1.0, np.nan))
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
    assert bootstrap(6, lambda drawn: np.full(len(drawn), np.nan)).value is None
