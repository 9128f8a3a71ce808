"""Two services under one --out, each with a judge of the same name: their replies stay apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.errors import BadRequest
from eval.mtbench.__main__ import main
from eval.mtbench.cache import ReplyCache
from tests.eval.mtbench.judge_server import JudgeServer, status, verdict
from tests.eval.mtbench.test_half_surrogates import answers_to_own

pytestmark = pytest.mark.usefixtures("judge_key")


def words(folder: Path, url: str, *more: str) -> list[str]:
    path = answers_to_own(folder / "a.jsonl", "fine")
    told = ["--answers", str(path), "--judge-base-url", url, "--out", str(folder / "out"), "--json"]
    return [*told, "--questions", "own", "--limit", "4", "--concurrency", "1", *more]


def elsewhere(server: JudgeServer) -> str:
    """The same server by another name."""
    return server.url.replace("127.0.0.1", "localhost")


def mean(capsys: pytest.CaptureFixture[str]) -> float:
    (model,) = json.loads(capsys.readouterr().out)["models"]
    return float(model["mean"]["value"])


def test_each_service_has_its_own_replies_live_and_in_replay(
    judge_server: JudgeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = judge_server.url, elsewhere(judge_server)
    for url, rating in ((here, 3), (there, 9), (here, 5)):
        judge_server.usual = verdict(text=f"[[{rating}]]")
        assert main(words(tmp_path, url)) == 0
        assert mean(capsys) == (9 if url == there else 3)
    assert len(judge_server.asked) == (1 + 8) + (1 + 8) + 1  # the third run asks whether the judge is there
    monkeypatch.delenv("OPENAI_API_KEY")
    for url, rating in ((here, 3), (there, 9)):
        assert main(words(tmp_path, url, "--replay")) == 0
        assert mean(capsys) == rating
    monkeypatch.setenv("OPENAI_BASE_URL", there)
    argv = words(tmp_path, there, "--replay")
    del argv[argv.index("--judge-base-url") : argv.index("--out")]
    assert main(argv) == 0
    assert mean(capsys) == 9


def test_a_verdict_without_rating_is_asked_about_again_by_each_service(
    judge_server: JudgeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge_server.usual = verdict(text="no rating")
    assert main(words(tmp_path, judge_server.url)) == 1
    assert len(judge_server.asked) == 1 + 16
    judge_server.usual = verdict(text="[[6]]")
    capsys.readouterr()
    assert main(words(tmp_path, elsewhere(judge_server))) == 0
    told = json.loads(capsys.readouterr().out)["models"][0]
    assert (told["mean"]["value"], told["reasked"]) == (6.0, 0)
    assert len(judge_server.asked) == 17 + 1 + 8


def test_a_dry_run_counts_what_this_service_has_yet_to_answer(
    judge_server: JudgeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(words(tmp_path, judge_server.url)) == 0
    monkeypatch.delenv("OPENAI_API_KEY")
    for url, calls in ((judge_server.url, 0), (elsewhere(judge_server), 8)):
        capsys.readouterr()
        assert main(words(tmp_path, url, "--dry-run")) == 0
        assert json.loads(capsys.readouterr().out)["calls"] == calls


def test_a_stop_names_what_is_missing_from_this_service(
    judge_server: JudgeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path, judge_server.url)) == 0
    spent = status(429, {"message": "You exceeded your quota", "code": "insufficient_quota"})
    judge_server.misbehave(verdict(), verdict(), verdict(), spent)
    capsys.readouterr()
    assert main(words(tmp_path, elsewhere(judge_server))) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["models"][0]["outcomes"] == {"missing": 6, "scored": 2}
    assert "6 of 8 judgments have no answer or no reply; stopped: " in err
    assert main(words(tmp_path, elsewhere(judge_server), "--replay")) == 1


def test_a_stop_before_the_second_asking_names_the_verdicts_that_lack_it(
    judge_server: JudgeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spent = status(429, {"message": "You exceeded your quota", "code": "insufficient_quota"})
    judge_server.misbehave(verdict(), *[verdict(text="no rating")] * 8, verdict(text="[[4]]"), spent)
    assert main(words(tmp_path, judge_server.url)) == 1
    out, err = capsys.readouterr()
    assert "7 of 8 judgments have no answer or no reply; stopped: " in err
    assert main(words(tmp_path, judge_server.url, "--replay")) == 1
    assert capsys.readouterr().out == out


def test_a_folder_that_another_run_has_is_told_before_anything_is_paid(
    judge_server: JudgeServer, tmp_path: Path
) -> None:
    argv = words(tmp_path, judge_server.url)
    with ReplyCache.open(tmp_path / "out" / "mtbench" / "replies"), pytest.raises(BadRequest, match="another run"):
        main(argv)
    assert judge_server.seen == []
    assert main(argv) == 0


def test_a_stop_for_cost_says_one_thing_to_do(
    judge_server: JudgeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path, judge_server.url, "--max-cost", "0.15")) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "stopped: " in line]
    assert "give a larger one" in line and "same command" not in line
