"""The messages to the judge, against FastChat's own conversation template and str.format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.errors import BadRequest
from eval.mtbench.items import Question
from eval.mtbench.prompts import Prompts, messages, prompt_of, read_prompts
from eval.mtbench.questions import NEEDS_REFERENCE, read_questions, read_references, under_policy


@pytest.fixture(scope="module")
def prompts(shared_data: Path) -> Prompts:
    return read_prompts(shared_data / "mtbench" / "judge_prompts.jsonl")


def as_fastchat_sends(template: dict, question: dict, answers: list[str], references: tuple[str, ...] | None) -> list:
    """Through FastChat's own conversation, as its run_judge_single fills it for gpt-4."""
    from fastchat.conversation import get_conv_template

    multi_turn = template["name"].endswith("multi-turn")
    values = {f"ref_answer_{k}": text for k, text in enumerate(references or (), start=1)}
    if multi_turn:
        values |= {f"question_{k}": text for k, text in enumerate(question["turns"], start=1)}
        values |= {f"answer_{k}": text for k, text in enumerate(answers, start=1)}
    else:
        values |= {"question": question["turns"][0], "answer": answers[0]}
    conversation = get_conv_template("chatgpt")
    conversation.set_system_message(template["system_prompt"])
    conversation.append_message(conversation.roles[0], template["prompt_template"].format(**values))
    conversation.append_message(conversation.roles[1], None)
    return conversation.to_openai_api_messages()


@pytest.mark.parametrize("turn", [1, 2])
def test_the_messages_are_fastchat_s_to_the_byte(shared_data: Path, prompts: Prompts, turn: int) -> None:
    folder = shared_data / "mtbench"
    gpt4 = read_references(folder / "reference_answer_gpt-4.jsonl")
    raw = [json.loads(line) for line in (folder / "question.jsonl").read_text().splitlines()]
    templates = {p["name"]: p for p in map(json.loads, (folder / "judge_prompts.jsonl").read_text().splitlines())}
    answers = ["{braces} {0} {question} }{ %s \\n", "and\n\n[[10]] {answer_1}"]
    names = set()
    for told, question in zip(raw, under_policy(read_questions(folder / "question.jsonl"), "gpt-4", gpt4), strict=True):
        referenced = told["category"] in NEEDS_REFERENCE
        name = f"single-{'math-' if referenced else ''}v1{'-multi-turn' if turn == 2 else ''}"
        references = gpt4[told["question_id"]] if referenced else None
        theirs = as_fastchat_sends(templates[name], told, answers, references)
        assert list(messages(prompts, question, answers[:turn], turn)) == theirs
        names.add(name)
    assert len(names) == 2


def test_without_a_reference_for_every_turn_shown_the_general_prompt_is_used(prompts: Prompts) -> None:
    question = Question(question_id=1, category="math", turns=("a", "b"), references=("one", None))
    assert prompt_of(prompts, question, 1).name == "single-math-v1"
    assert prompt_of(prompts, question, 2).name == "single-v1-multi-turn"
    other = Question(question_id=1, category="stem", turns=("a", "b"), references=("one", "two"))
    assert prompt_of(prompts, other, 2).name == "single-v1-multi-turn"


def test_an_empty_system_prompt_sends_no_system_message(tmp_path: Path, shared_data: Path) -> None:
    lines = (shared_data / "mtbench" / "judge_prompts.jsonl").read_text().splitlines()
    told = [{**json.loads(line), "system_prompt": ""} for line in lines]
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(map(json.dumps, told)))
    question = Question(question_id=1, category="stem", turns=("a",), references=(None,))
    assert [m["role"] for m in messages(read_prompts(path), question, ["x"], 1)] == ["user"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"prompt_template": "{question}"}, "must show"),
        ({"prompt_template": "{question} {answer} {0}"}, "must show"),
        ({"prompt_template": "{question"}, "prompt_template"),
        ({"system_prompt": None}, "two texts"),
        ({"name": "other"}, "has no single-v1;"),
    ],
)
def test_prompts_that_would_not_work_are_refused(
    tmp_path: Path, shared_data: Path, change: dict[str, object], told: str
) -> None:
    lines = [json.loads(line) for line in (shared_data / "mtbench" / "judge_prompts.jsonl").read_text().splitlines()]
    changed = [{**line, **change} if line["name"] == "single-v1" else line for line in lines]
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(map(json.dumps, changed)))
    with pytest.raises(BadRequest, match=told):
        read_prompts(path)
