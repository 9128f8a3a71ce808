"""Answer files: FastChat's are read, ours are read by FastChat, and a kill costs no answer that was there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BadRequest
from eval.mtbench.answers import AnswerFile, read_answers
from eval.mtbench.items import Answer


def answer(question: int, choice: int = 0, text: str = "x") -> Answer:
    """Two turns, the second cut."""
    return Answer(question_id=question, model="m", choice=choice, turns=(text, "\u2028 y"), endings=("stop", "length"))


def fastchat_line(**changes: Any) -> dict[str, Any]:
    """As FastChat writes one."""
    told = {"question_id": 81, "answer_id": "a", "model_id": "m", "choices": [{"index": 0, "turns": ["a", "b"]}]}
    return {**told, "tstamp": 1.0, **changes}


def written(path: Path, *lines: object) -> Path:
    """A file of these."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("name", ["alpaca-13b", "llama-13b", "gpt-3.5-turbo", "vicuna-7b-v1.3"])
def test_published_answers_are_read_whole(name: str, shared_data: Path) -> None:
    path = shared_data / "mtbench" / "model_answer" / f"{name}.jsonl"
    answers = read_answers(path)
    assert [told.question_id for told in answers] == list(range(81, 161))
    assert {told.model for told in answers} == {name} and {len(told.turns) for told in answers} == {2}
    raw = {line["question_id"]: line for line in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
    assert all(list(told.turns) == raw[told.question_id]["choices"][0]["turns"] for told in answers)


def test_what_fastchat_failed_at_is_marked(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", fastchat_line(choices=[{"turns": ["ERROR", "fine"]}, {"turns": ["$ERROR$"]}]))
    assert [told.endings for told in read_answers(path)] == [("failed", "stop"), ("failed",)]


def test_of_two_lines_the_later_counts_choice_by_choice(tmp_path: Path) -> None:
    first = fastchat_line(choices=[{"index": 0, "turns": ["old"]}, {"index": 1, "turns": ["kept"]}])
    second = fastchat_line(choices=[{"index": 0, "turns": ["new"]}])
    assert [told.turns for told in read_answers(written(tmp_path / "a", first, second))] == [("new",), ("kept",)]


WRONG = {
    "no id": (fastchat_line(question_id=None), "question_id"),
    "an id that is true": (fastchat_line(question_id=True), "question_id"),
    "no model": (fastchat_line(model_id=""), "model_id"),
    "no choices": (fastchat_line(choices=[]), "choices"),
    "choices that are none": (fastchat_line(choices=[3]), "turns"),
    "no turns": (fastchat_line(choices=[{"index": 0, "turns": []}]), "turns"),
    "turns that are no texts": (fastchat_line(choices=[{"index": 0, "turns": [3]}]), "turns"),
    "an index below 0": (fastchat_line(choices=[{"index": -1, "turns": ["x"]}]), "index"),
    "an index twice": (fastchat_line(choices=[{"turns": ["x"]}, {"index": 0, "turns": ["y"]}]), "index 0"),
    "too few endings": (fastchat_line(choices=[{"turns": ["x", "y"], "endings": ["stop"]}]), "endings"),
    "an unknown ending": (fastchat_line(choices=[{"turns": ["x"], "endings": ["sad"]}]), "endings"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_named_by_its_line(name: str, tmp_path: Path) -> None:
    line, told = WRONG[name]
    with pytest.raises(BadRequest, match=r"a\.jsonl, line 2") as caught:
        read_answers(written(tmp_path / "a.jsonl", fastchat_line(), line))
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_one_file_is_one_model(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="2 models"):
        read_answers(written(tmp_path / "a", fastchat_line(), fastchat_line(question_id=82, model_id="other")))
    with pytest.raises(BadRequest, match="got none"):
        read_answers(written(tmp_path / "b"))


def test_what_is_put_is_read_again_and_fastchat_reads_it_too(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with AnswerFile.open(path, model="m", made_by="f") as file:
        for told in (answer(82), answer(81, 1, "second"), answer(81, 0)):
            file.put(told)
    assert read_answers(path) == [answer(81, 0), answer(81, 1, "second"), answer(82)]
    # As fastchat.llm_judge.common.load_model_answers and make_match_single take them: last line, by position.
    last = {line["question_id"]: line for line in map(json.loads, path.read_text().splitlines())}
    assert [choice["turns"] for choice in last[81]["choices"]] == [["x", "\u2028 y"], ["second", "\u2028 y"]]
    assert {"question_id", "answer_id", "model_id", "choices", "tstamp"} <= last[82].keys()


def test_a_torn_file_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with AnswerFile.open(path, model="m", made_by="f") as file:
        file.put(answer(81))
        file.put(answer(82))
    path.write_bytes(path.read_bytes()[:-20])
    with AnswerFile.open(path, model="m", made_by="f") as file:
        assert list(file.answers) == [(81, 0)]
        file.put(answer(82))
    assert read_answers(path) == [answer(81), answer(82)]


def test_answers_made_otherwise_are_not_mixed_in(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with AnswerFile.open(path, model="m", made_by="f") as file:
        file.put(answer(81))
        with pytest.raises(BadRequest, match="another run"):
            AnswerFile.open(path, model="m", made_by="f")
    before = path.read_bytes()
    for _ in range(2):  # the refusal gives the file free
        with pytest.raises(BadRequest, match="another model, template or setting"):
            AnswerFile.open(path, model="m", made_by="g")
    assert path.read_bytes() == before
