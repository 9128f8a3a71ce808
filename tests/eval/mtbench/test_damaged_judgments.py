"""Judgment files and references that are none: one line and exit 2; words that go with them are used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BadRequest
from eval.mtbench.__main__ import main
from eval.mtbench.questions import read_references
from eval.mtbench.verify import read_judgments

GOOD = {"question_id": 81, "model": "m", "turn": 1, "user_prompt": "u", "judgment": "[[7]]", "score": 7}


def written(path: Path, **changes: Any) -> Path:
    path.write_text(json.dumps({**GOOD, **changes}) + "\n")
    return path


def test_an_empty_file_is_no_success(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    argv = ["--data-dir", str(shared_data / "mtbench"), "--verify-judgments", str(tmp_path / "empty.jsonl")]
    with pytest.raises(BadRequest, match="holds no judgment"):
        main(argv)


@pytest.mark.parametrize(
    "changes",
    [
        *({"question_id": float("inf")}, {"question_id": "81"}, {"question_id": 1.5}, {"turn": 1.0}, {"turn": [1]}),
        *({"score": float("inf")}, {"score": float("nan")}, {"score": 10**400}, {"score": 1e300}, {"score": "7"}),
        *({"model": 3}, {"turn": None, "judge": []}, {"turn": None, "judge": {}}),
    ],
)
def test_a_line_that_is_no_judgment_is_named(changes: dict[str, Any], tmp_path: Path) -> None:
    assert len(read_judgments(written(tmp_path / "j.jsonl"))) == 1
    with pytest.raises(BadRequest, match=r"j\.jsonl, line 1"):
        read_judgments(written(tmp_path / "j.jsonl", **changes))


@pytest.mark.parametrize("number", [float("inf"), 10.5, "81", None])
def test_a_reference_of_no_question_is_named(number: object, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"question_id": number, "choices": [{"turns": ["x"]}]}) + "\n")
    with pytest.raises(BadRequest, match=r"r\.jsonl, line 1"):
        read_references(path)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path / "j.jsonl")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_judgments(path)) == 1


def test_references_decide_what_judgments_are_checked_against(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """GPT-4's references stand in the published prompts; the question file alone has none for question 111."""
    folder = shared_data / "mtbench"
    rows = [json.loads(line) for line in (folder / "gpt4_single_judgments.jsonl").read_text().splitlines()]
    (tmp_path / "j.jsonl").write_text(json.dumps(next(row for row in rows if row["question_id"] == 111)) + "\n")
    argv = [
        "--data-dir",
        str(folder),
        "--json",
        "--out",
        str(tmp_path),
        "--verify-judgments",
        str(tmp_path / "j.jsonl"),
    ]
    assert main([*argv, "--references", "gpt-4"]) == 0
    assert json.loads(capsys.readouterr().out)["checked"]["exceptions"] == []
    main([*argv, "--references", "inf"])
    assert len(json.loads(capsys.readouterr().out)["checked"]["exceptions"]) == 1
