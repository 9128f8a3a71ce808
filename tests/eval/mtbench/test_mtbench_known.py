"""python -m eval.mtbench --calibrate and --verify-judgments: a judge, and judgments, against what is known already."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import pytest

from eval.mtbench.__main__ import main
from reports.reading.folders import read_folders
from reports.reading.judged import read_judged
from tests.eval.mtbench.conftest import Words
from tests.eval.mtbench.judge_server import JudgeServer, verdict


def test_a_judge_is_calibrated_against_known_scores(
    words: Words, shared_data: Path, judge_server: JudgeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    judge_server.usual = verdict(text="Rating: [[8]]")
    argv = words(limit=3)
    del argv[argv.index("--answers") : argv.index("--limit")]
    file = shared_data / "mtbench" / "gpt4_single_judgments.jsonl"
    assert main([*argv, "--calibrate", str(file), "--judge", "other"]) == 0
    told = json.loads(capsys.readouterr().out)
    judged = [row for row in map(json.loads, file.read_text().splitlines()) if row["question_id"] in (81, 82, 83)]
    assert told["scored"] == len(judged) == 36
    assert told["all"]["bias"]["value"] == pytest.approx(8 - fmean(row["score"] for row in judged))
    assert told["all"]["rank_correlation"]["value"] is None
    sent = {seen.body["messages"][-1]["content"] for seen in judge_server.asked[1:]}
    assert sent == {row["user_prompt"] for row in judged}


def test_published_judgments_are_verified(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = shared_data / "mtbench" / "gpt4_single_judgments.jsonl"
    argv = ["--data-dir", str(file.parent), "--json", "--out", str(tmp_path), "--verify-judgments"]
    assert main([*argv, str(file)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["checked"] == {
        "judgments": 960,
        "prompts_rebuilt": 960,
        "fastchat_scores_reproduced": 960,
        "scores_agreeing": 960,
        "exceptions": [],
    }
    rows = [json.loads(line) for line in file.read_text().splitlines()[:3]]
    rows[1]["score"] = 1
    three = tmp_path / "three.jsonl"
    three.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main([*argv, str(three)]) == 1
    (exception,) = json.loads(capsys.readouterr().out)["checked"]["exceptions"]
    assert exception.startswith("three.jsonl, line 2: question 82, turn 1") and "stored 1, FastChat reads" in exception


def test_our_own_judgments_are_read_back_as_fastchat_s(
    words: Words, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And graded again to the same figures: what grades the judgments of others is what graded ours."""
    assert main(words(limit=30)) == 0
    told = json.loads(capsys.readouterr().out)
    judgments = str(Path(told["report"]) / "judgments.jsonl")
    argv = ["--data-dir", str(shared_data / "mtbench"), "--json", "--out", str(tmp_path), "--limit", "30"]
    assert main([*argv, "--verify-judgments", judgments]) == 0
    again = json.loads(capsys.readouterr().out)
    checked = again["checked"]
    assert checked["judgments"] == checked["scores_agreeing"] == 60 and checked["exceptions"] == []
    assert [(one["mean"], one["categories"], one["coverage"]) for one in again["models"]] == [
        (one["mean"], one["categories"], one["coverage"]) for one in told["models"]
    ]


def test_the_judgments_of_others_are_graded_as_a_run_of_our_own(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The means are those of the file's scores (its one -1 judged an empty answer: 1 here), and the report reads it."""
    file = shared_data / "mtbench" / "gpt4_single_judgments.jsonl"
    argv = ["--data-dir", str(file.parent), "--json", "--out", str(tmp_path), "--verify-judgments", str(file)]
    assert main(argv) == 0
    told = json.loads(capsys.readouterr().out)
    scores: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in map(json.loads, file.read_text().splitlines()):
        scores[row["model"]][row["question_id"]].append(1 if row["score"] == -1 else row["score"])
    means = {model: fmean(map(fmean, questions.values())) for model, questions in scores.items()}
    assert {one["model"]: one["mean"]["value"] for one in told["models"]} == pytest.approx(means)
    assert sum(one["outcomes"].get("empty answer", 0) for one in told["models"]) == 1
    assert "nobody was asked" in told["labels"][0]
    ((source,), _) = read_folders([tmp_path])
    run = read_judged(source)
    assert {rating.model: rating.mean for rating in run.ratings} == pytest.approx(means) and run.labels
    assert sum(len(own) for model in run.scores.values() for own in model.values()) == 960
    assert main(argv) == 0 and len(list((tmp_path / "mtbench").glob("*.json"))) == 1
