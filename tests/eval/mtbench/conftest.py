"""A judge's service on this machine, and a key for it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.eval.mtbench.judge_server import JudgeServer

Words = Callable[..., list[str]]
KEY = "sk-test-0123456789abcdefghij"


@pytest.fixture
def judge_key(monkeypatch: pytest.MonkeyPatch) -> str:
    """The key in the environment; addresses and logging switches of the caller's own are put away."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("OPENAI_BASE_URL", "OPENAI_LOG", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    return KEY


@pytest.fixture
def judge_server() -> Iterator[JudgeServer]:
    """A service that behaves until it is told otherwise."""
    with JudgeServer() as server:
        yield server


@pytest.fixture
def words(shared_data: Path, tmp_path: Path, judge_server: JudgeServer, judge_key: str) -> Words:
    """The command line: real questions, real answers, records under tmp_path/out."""
    folder = shared_data / "mtbench"

    def made(*more: str, models: tuple[str, ...] = ("gpt-3.5-turbo",), limit: int = 4) -> list[str]:
        answers = [str(folder / "model_answer" / f"{model}.jsonl") for model in models]
        service = ["--judge-base-url", judge_server.url, "--data-dir", str(folder), "--questions", "mt-bench"]
        return [*service, "--answers", *answers, "--limit", str(limit), "--out", str(tmp_path / "out"), "--json", *more]

    return made
