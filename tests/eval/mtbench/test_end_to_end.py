"""All 80 questions without a network: a model answers, `transformers serve` gives it ratings, and replay agrees."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from eval.mtbench.questions import read_questions
from tests.eval.mtbench.chat_models import save_rambler, save_rater
from tests.eval.mtbench.judge_server import JudgeServer

OFFLINE = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "OPENAI_API_KEY": "EMPTY"}
_PATIENCE_S = 120


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    """A folder with ``rambler``, which answers, and ``rater``, which rates; both know the questions' letters."""
    texts = [text for q in read_questions(shared_data / "mtbench" / "question.jsonl") for text in q.turns]
    folder = tmp_path_factory.mktemp("models")
    for name, save in (("rambler", save_rambler), ("rater", save_rater)):
        (folder / name).mkdir()
        save(folder / name, texts)
    return folder


@pytest.fixture(scope="module")
def service(models: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The rater's address, OpenAI-compatible, and the process that serves it."""
    pytest.importorskip("fastapi", reason="transformers serve needs fastapi and uvicorn (the eval extra)")
    pytest.importorskip("uvicorn", reason="transformers serve needs fastapi and uvicorn (the eval extra)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(models / "rater")]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with (models / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, env=OFFLINE, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", process, models / "serve.log")
            yield f"http://127.0.0.1:{port}/v1", process
        finally:
            process.kill()
            process.wait()


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(_PATIENCE_S * 5):
        assert process.poll() is None, log.read_text()
        try:
            with opener.open(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"transformers serve did not start: {log.read_text()}")


@pytest.mark.slow
def test_killed_twice_it_asks_again_for_no_more_than_was_in_flight(
    judge_server: JudgeServer, judge_key: str, shared_data: Path, tmp_path: Path
) -> None:
    """160 judgments, kill -9 after some 40 and some 90."""
    judge_server.delay_s = 0.05
    folder = shared_data / "mtbench"
    words = ["--judge-base-url", judge_server.url, "--data-dir", str(folder), "--concurrency", "4", "--json"]
    words += ["--answers", str(folder / "model_answer" / "gpt-3.5-turbo.jsonl"), "--out", str(tmp_path / "out")]
    command = [sys.executable, "-m", "eval.mtbench", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for enough in (40, 90):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(judge_server.asked) < enough:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.wait()
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    (model,) = json.loads(done.stdout)["models"]
    assert (model["scored"], model["attempted"]) == (160, 160)
    # Three preflights; twice four requests that nobody was left to hear.
    assert 160 <= len(judge_server.asked) - 3 <= 160 + 2 * 4


def run(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "eval.mtbench", *words], env=OFFLINE, capture_output=True, check=False)


def written(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_answered_judged_reported_and_replayed(
    service: tuple[str, subprocess.Popen[bytes]], models: Path, shared_data: Path, tmp_path: Path
) -> None:
    address, process = service
    out = tmp_path / "out"
    words = ["--judge", str(models / "rater"), "--judge-base-url", address, "--model", str(models / "rambler")]
    words += ["--questions", "mt-bench-inf", "--data-dir", str(shared_data / "mtbench"), "--max-tokens", "16"]
    words += ["--batch-size", "16", "--concurrency", "4", "--device", "cpu", "--out", str(out), "--json"]
    first = run(*words)
    assert first.returncode == 0, first.stderr.decode()
    told = json.loads(first.stdout)
    (model,) = told["models"]
    assert model["attempted"] == 160 and model["coverage"] == 1.0
    assert model["outcomes"]["scored"] > 100
    # The rater gives 7 to everything; an answer of nothing scores 1.
    empty = model["outcomes"].get("empty answer", 0)
    assert model["worst_case"] == pytest.approx((7 * (160 - empty) + empty) / 160)
    assert any("not by gpt-4" in label for label in told["labels"])
    report = Path(told["report"])
    kept = written(report)
    assert set(kept) == {"report.md", "answers.md", "judgments.jsonl", "scores.png", "scores.svg"}

    process.kill()
    process.wait()
    shutil.rmtree(report)
    again = run(*words, "--replay")
    assert again.returncode == 0, again.stderr.decode()
    assert again.stdout == first.stdout
    assert written(report) == kept
