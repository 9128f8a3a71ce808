"""All 960 published judgments: the prompt built anew to the byte, the score read again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from eval.mtbench.prompts import Prompts, read_prompts
from eval.mtbench.questions import read_questions, read_references, under_policy
from eval.mtbench.verify import Edition, check, read_judgments


@pytest.fixture(scope="module")
def prompts(shared_data: Path) -> Prompts:
    return read_prompts(shared_data / "mtbench" / "judge_prompts.jsonl")


@pytest.fixture(scope="module")
def edition(shared_data: Path) -> Edition:
    folder = shared_data / "mtbench"
    references = read_references(folder / "reference_answer_gpt-4.jsonl")
    questions = under_policy(read_questions(folder / "question.jsonl"), "gpt-4", references)
    return {question.question_id: question for question in questions}


# (model, question, turn) -> why our reading differs from the stored score. None does: the one -1 is a verdict that
# holds no rating, which both readings call unscored.
EXCEPTIONS: dict[tuple[str, int, int], str] = {}


def test_every_published_judgment_is_reproduced(shared_data: Path, prompts: Prompts, edition: Edition) -> None:
    judgments = read_judgments(shared_data / "mtbench" / "gpt4_single_judgments.jsonl")
    assert len(judgments) == 960
    checked = [check(judgment, prompts, [edition]) for judgment in judgments]
    assert [one.judgment.place for one in checked if not one.reproduced or one.exception] == []
    differing = {(one.judgment.model, one.judgment.question_id, one.judgment.turn) for one in checked if one.score}
    assert differing == EXCEPTIONS.keys()
    assert [one.judgment.question_id for one in checked if one.judgment.score == -1] == [158]


def test_the_answer_in_the_prompt_is_the_model_s(shared_data: Path, prompts: Prompts, edition: Edition) -> None:
    """Of the five judged models one has published answers, of which some were regenerated after judging."""
    folder = shared_data / "mtbench"
    published = read_references(folder / "model_answer" / "vicuna-7b-v1.3.jsonl")
    judgments = read_judgments(folder / "gpt4_single_judgments.jsonl")
    checked = [check(one, prompts, [edition]) for one in judgments if one.model == "vicuna-7b-v1.3"]
    same = [one for one in checked if one.answers == published[one.judgment.question_id][: one.judgment.turn]]
    assert (len(checked), len(same)) == (160, 121)


def test_a_prompt_that_was_altered_is_not_reproduced(shared_data: Path, prompts: Prompts, edition: Edition) -> None:
    judgment = read_judgments(shared_data / "mtbench" / "gpt4_single_judgments.jsonl")[0]
    torn = check(replace(judgment, user_prompt=judgment.user_prompt.replace("[Question]", "[question]")), prompts, [])
    assert not torn.rebuilt and torn.exception == "fits none of the four prompts"
    other = check(replace(judgment, question_id=82), prompts, [edition])
    assert not other.rebuilt and other.exception is not None and "another prompt or question" in other.exception
    rescored = check(replace(judgment, score=3.0), prompts, [edition])
    assert not rescored.reproduced and rescored.score == "stored 3, ours: 9.0"


def test_a_reference_of_another_edition_is_named(shared_data: Path, prompts: Prompts, edition: Edition) -> None:
    judgments = read_judgments(shared_data / "mtbench" / "gpt4_single_judgments.jsonl")
    judgment = next(one for one in judgments if one.question_id == 111 and one.turn == 2)
    old = edition[111].references[0]
    assert old is not None
    edited = replace(judgment, user_prompt=judgment.user_prompt.replace(old, "Area is 3."))
    checked = check(edited, prompts, [edition])
    assert checked.reproduced and checked.exception == "a reference answer of no edition at hand"


def test_lines_of_other_tools_are_read(tmp_path: Path) -> None:
    line = {"question_id": 81, "model": "m", "judge": ["gpt-4", "single-v1-multi-turn"], "user_prompt": "u"}
    path = tmp_path / "judgments.jsonl"
    path.write_text(json.dumps({**line, "judgment": "[[7]]", "score": 7, "extra": [1]}) + "\n\n")
    (judgment,) = read_judgments(path)
    assert (judgment.turn, judgment.score, judgment.place) == (2, 7.0, "judgments.jsonl, line 1")
