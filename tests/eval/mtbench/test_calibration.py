"""A judge measured against known scores: the figures against scipy and simple definitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from eval.mtbench.asks import Plan
from eval.mtbench.calibration import Known, calibration, known_items
from eval.mtbench.items import Reply
from eval.mtbench.prompts import Prompts, read_prompts
from eval.mtbench.questions import read_questions, read_references, under_policy
from eval.mtbench.scoring import grades
from eval.mtbench.verify import check, read_judgments


@pytest.fixture(scope="module")
def prompts(shared_data: Path) -> Prompts:
    return read_prompts(shared_data / "mtbench" / "judge_prompts.jsonl")


@pytest.fixture(scope="module")
def known(shared_data: Path, prompts: Prompts) -> list[Known]:
    folder = shared_data / "mtbench"
    gpt4 = read_references(folder / "reference_answer_gpt-4.jsonl")
    edition = {q.question_id: q for q in under_policy(read_questions(folder / "question.jsonl"), "gpt-4", gpt4)}
    judgments = read_judgments(folder / "gpt4_single_judgments.jsonl")
    return known_items([check(one, prompts, [edition]) for one in judgments if one.question_id % 4 == 0])


def test_what_was_judged_can_be_asked_again(known: list[Known], prompts: Prompts, shared_data: Path) -> None:
    """The request about each is the prompt of the file; an answer that was judged twice is asked about twice."""
    plan = Plan(judge="other", prompts=prompts, repeats=1, harden=False, fastchat=False)
    sent = {ask.messages[-1]["content"] for one in known for ask in plan.asks(one.item)}
    judgments = read_judgments(shared_data / "mtbench" / "gpt4_single_judgments.jsonl")
    expected = [one for one in judgments if one.question_id % 4 == 0]
    assert len(known) == len(expected) == 240
    assert sent <= {one.user_prompt for one in expected}
    places = {(one.item.model, one.item.question.question_id, one.item.turn, one.item.choice) for one in known}
    assert len(places) == 240 and {one.item.choice for one in known} == {0, 1}


def test_the_figures_are_those_of_their_definitions(known: list[Known], prompts: Prompts) -> None:
    plan = Plan(judge="other", prompts=prompts, repeats=1, harden=False, fastchat=False)
    rng = np.random.default_rng(5)
    replies: dict[str, Reply] = {}
    pairs = []
    for one in known:
        for ask in plan.asks(one.item):
            new = float(np.clip(one.score - 1 + rng.integers(-1, 2), 1, 10))
            replies[ask.key] = Reply(key=ask.key, text=f"Rating: [[{new}]]", finish_reason="stop")
            pairs.append((one.score, new))
    assert len(replies) == len(pairs)
    told = calibration(known, grades([one.item for one in known], plan, replies.get))
    old, new_ones = np.array(pairs).T
    everything = told["all"]
    assert everything["bias"]["value"] == pytest.approx((new_ones - old).mean())
    assert everything["mean_absolute_error"]["value"] == pytest.approx(np.abs(new_ones - old).mean())
    assert everything["rank_correlation"]["value"] == pytest.approx(spearmanr(old, new_ones).statistic)
    for name in ("bias", "mean_absolute_error", "rank_correlation"):
        assert everything[name]["low"] < everything[name]["value"] < everything[name]["high"]
    assert sum(own["ratings"] for own in told["turns"].values()) == everything["ratings"] == told["scored"]


def test_a_judge_that_gives_one_rating_has_no_rank_correlation(known: list[Known], prompts: Prompts) -> None:
    plan = Plan(judge="other", prompts=prompts, repeats=1, harden=False, fastchat=False)
    some = known[:40]
    told = calibration(
        some,
        grades([one.item for one in some], plan, lambda key: Reply(key=key, text="[[5]]", finish_reason="stop")),
    )
    assert told["all"]["rank_correlation"]["value"] is None
    assert told["all"]["bias"]["value"] is not None


def test_nothing_rated_is_no_number(known: list[Known], prompts: Prompts) -> None:
    plan = Plan(judge="other", prompts=prompts, repeats=1, harden=False, fastchat=False)
    told = calibration(known[:5], grades([one.item for one in known[:5]], plan, lambda key: None))
    assert (told["all"]["known_mean"], told["all"]["bias"]["value"], told["coverage"]) == (None, None, 0.0)
