"""A judge's service on this machine, and a key for it."""

from collections.abc import Iterator

import pytest

from tests.eval.mtbench.judge_server import JudgeServer

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
