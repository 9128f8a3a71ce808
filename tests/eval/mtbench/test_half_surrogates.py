"""Half a surrogate pair, which JSON may carry and UTF-8 may not: mended where it is read, and marked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval.mtbench.__main__ import main
from eval.mtbench.answers import AnswerFile, read_answers
from eval.mtbench.items import Answer
from eval.mtbench.questions import read_questions
from tests.eval.mtbench.judge_server import JudgeServer


def answers_to_own(path: Path, text: str) -> Path:
    lines = [
        {"question_id": q, "model_id": "m", "choices": [{"index": 0, "turns": [text if q == 1 else "a", "b"]}]}
        for q in range(1, 5)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.usefixtures("judge_key")
def test_an_answer_with_half_a_pair_is_judged_marked_and_rerun(
    judge_server: JudgeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = answers_to_own(tmp_path / "a.jsonl", "\ud800 lone")
    argv = ["--answers", str(path), "--judge-base-url", judge_server.url, "--out", str(tmp_path / "out"), "--json"]
    argv += ["--questions", "own", "--limit", "4"]
    assert main(argv) == 0
    told = json.loads(capsys.readouterr().out)
    (model,) = told["models"]
    assert (model["scored"], model["mended_answers"]) == (8, 1)
    sent = [seen.body["messages"][-1]["content"] for seen in judge_server.asked]
    assert sum("\ufffd lone" in prompt for prompt in sent) == 2  # the second turn shows the first
    report = (Path(told["report"]) / "report.md").read_text()
    assert "half a surrogate pair" in report
    assert main(argv) == 0
    assert main([*argv, "--replay"]) == 0
    assert len(judge_server.asked) == 1 + 8 + 1


def test_a_question_with_half_a_pair_is_mended_and_marked(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    lines = [
        {"question_id": q, "category": "c", "turns": [text]} for q, text in ((1, "why \udfff?"), (2, "\U0001f600"))
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [(q.turns, q.mended) for q in read_questions(path)] == [(("why \ufffd?",), True), (("\U0001f600",), False)]


def test_a_mark_outlives_the_file_that_holds_the_answer(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    given = Answer(question_id=1, model="m", choice=0, turns=("\ufffd",), endings=("stop",), mended=True)
    whole = Answer(question_id=2, model="m", choice=0, turns=("\ufffd",), endings=("stop",))
    with AnswerFile.open(path, model="m", made_by="f") as file:
        file.put(given)
        file.put(whole)
    assert read_answers(path) == [given, whole]
