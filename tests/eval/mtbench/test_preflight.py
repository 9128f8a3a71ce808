"""Before anything is generated: one line for each way a judge can be out of reach, and the key in none of them."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import traceback
from pathlib import Path

import pytest

from bench.errors import BadRequest
from eval.mtbench.cache import ReplyCache
from eval.mtbench.judge import ask_all
from eval.mtbench.limits import Patience
from eval.mtbench.preflight import preflight
from eval.mtbench.service import DEFAULT_URL, Service
from tests.eval.mtbench import judge_server as acts
from tests.eval.mtbench.judge_server import JudgeServer, asks

QUICK = Patience(attempts=3, first_s=0.001, longest_s=0.002, longest_wish_s=0.1)


def try_out(service: Service) -> BadRequest:
    """The refusal."""
    with pytest.raises(BadRequest) as caught:
        asyncio.run(preflight(service, patience=QUICK))
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_judge_that_answers_passes(judge_key: str, judge_server: JudgeServer) -> None:
    judge_server.misbehave(acts.status(503), acts.dropped)
    reply = asyncio.run(preflight(Service(judge="gpt-4", base_url=judge_server.url), patience=QUICK))
    assert reply.judge_returned == "gpt-4" and reply.attempts == 3
    assert judge_server.asked[-1].authorization == f"Bearer {judge_key}"


def test_what_the_judge_does_not_take_is_known_before_the_first_judgment(
    judge_key: str, judge_server: JudgeServer, tmp_path: Path
) -> None:
    judge_server.misbehave(acts.status(400, {"message": "no such thing", "param": "temperature"}))
    service = Service(judge="gpt-4", base_url=judge_server.url)
    assert asyncio.run(preflight(service, patience=QUICK)).adapted == ("temperature left out",)
    with ReplyCache.open(tmp_path) as cache:
        asyncio.run(ask_all(asks(3), cache=cache, service=service))
    assert all("temperature" not in seen.body for seen in judge_server.asked[1:])
    assert len(judge_server.asked) == 2 + 3


REFUSALS = {
    "wrong key": (acts.status(401, {"message": "Incorrect API key provided"}), "set OPENAI_API_KEY"),
    "wrong key by a 400": (acts.status(400, {"message": "not valid", "code": "invalid_api_key"}), "set OPENAI_API_KEY"),
    "forbidden": (acts.status(403, {"message": "Country not supported"}), "set OPENAI_API_KEY"),
    "retired": (
        acts.status(404, {"message": "The model `gpt-4` has been deprecated", "code": "model_not_found"}),
        "another --judge",
    ),
    "unknown by a 400": (acts.status(400, {"message": "no such model", "code": "model_not_found"}), "another --judge"),
    "gone": (acts.status(410), "another --judge"),
    "no such path": (acts.raw(acts.HTML, code=404, kind="text/html"), "--judge-base-url"),
    "quota": (acts.status(429, {"message": "quota", "code": "insufficient_quota"}), "add credit"),
    "not a service": (acts.raw(acts.HTML, kind="text/html"), "--judge-base-url"),
    "always busy": (acts.status(429, Retry_After="3600"), "does not answer"),
    "broken": (acts.status(500), "HTTP 500"),
    "elsewhere": (acts.status(307, Location="http://127.0.0.1:9/v1"), "HTTP 307"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_each_refusal_is_one_line_that_says_what_to_set(name: str, judge_key: str, judge_server: JudgeServer) -> None:
    act, told = REFUSALS[name]
    judge_server.usual = act
    message = str(try_out(Service(judge="gpt-4", base_url=judge_server.url)))
    assert told in message
    assert "gpt-4" in message or "OPENAI_API_KEY" in message


def test_nobody_there_is_one_line(judge_key: str) -> None:
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        message = str(try_out(Service(judge="gpt-4", base_url=url)))
    assert url in message and "--judge-base-url" in message


def test_no_key_is_said_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (None, "", "  "):
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        if value is not None:
            monkeypatch.setenv("OPENAI_API_KEY", value)
        with pytest.raises(BadRequest, match=r"OPENAI_API_KEY is not set.*export OPENAI_API_KEY="):
            Service.from_environment("gpt-4").check_key()


@pytest.mark.parametrize("key", ["sk-\u00e4\u00f6\u00fc", "two words", "line\nbreak"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(BadRequest) as caught:
        Service.from_environment("gpt-4").check_key()
    assert key not in str(caught.value)


def test_the_address_is_the_option_then_the_environment_then_openai(
    judge_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Service.from_environment("gpt-4").base_url == DEFAULT_URL
    monkeypatch.setenv("OPENAI_BASE_URL", "http://there/v1")
    assert Service.from_environment("gpt-4").base_url == "http://there/v1"
    assert Service.from_environment("gpt-4", "http://here/v1").base_url == "http://here/v1"


@pytest.mark.parametrize(
    "url", ["localhost:8000", "file:///etc/passwd", "http://", "http://me:secret-word@host/v1", "http://h/v1?key=secret-word",
     "http://[::1", "http://localhost:99999/v1", "http://localhost:port/v1", "http://a b/v1", "http://x\ud800/v1"]
)  # fmt: skip
def test_an_address_that_is_none_or_carries_a_secret_is_refused_without_being_shown(url: str, judge_key: str) -> None:
    with pytest.raises(BadRequest, match="--judge-base-url") as caught:
        Service.from_environment("gpt-4", url)
    assert "secret-word" not in str(caught.value)


class TestTheKeyIsNowhere:
    """The service echoes the Authorization header in bodies, headers and verdicts."""

    def chain(self, error: BaseException | None) -> list[BaseException]:
        found = []
        while error is not None:
            found.append(error)
            error = error.__cause__ or error.__context__
        return found

    @pytest.mark.parametrize("code", [200, 400, 401, 403, 404, 409, 429, 500])
    def test_in_no_message_repr_file_or_output(
        self,
        code: int,
        judge_key: str,
        judge_server: JudgeServer,
        tmp_path: Path,
        capfd: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("OPENAI_LOG", "debug")
        caplog.set_level(logging.DEBUG)
        judge_server.usual = acts.echoing(code)
        service = Service.from_environment("gpt-4", judge_server.url)
        told = [repr(service)]
        try:
            told.append(repr(asyncio.run(preflight(service, patience=QUICK))))
        except BadRequest as error:
            told += [text for link in self.chain(error) for text in (str(link), repr(link), repr(link.__dict__))]
            told += traceback.format_exception(error)
        with ReplyCache.open(tmp_path) as cache:
            asked = asyncio.run(ask_all(asks(3), cache=cache, service=service, patience=QUICK))
            told += [repr(asked), repr(cache.__dict__)]
        gc.collect()  # a task's exception that nobody took would be logged now
        told += [path.read_bytes().decode() for path in tmp_path.rglob("*") if path.is_file()]
        told += [*capfd.readouterr(), caplog.text]
        assert judge_server.asked[0].authorization == f"Bearer {judge_key}"
        assert not [text for text in told if judge_key in text]
        if code == 200:
            assert all("[key]" in str(reply.text) for reply in asked.replies.values())

    def test_not_while_the_line_is_open(self, judge_key: str, judge_server: JudgeServer) -> None:
        async def look() -> str:
            async with Service(judge="gpt-4", base_url=judge_server.url).connect() as line:
                return repr(line)

        assert judge_key not in asyncio.run(look())

    def test_a_placeholder_is_no_secret(self, judge_server: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")
        judge_server.usual = acts.verdict(text="EMPTY answers get [[1]]")
        reply = asyncio.run(preflight(Service(judge="gpt-4", base_url=judge_server.url), patience=QUICK))
        assert reply.text == "EMPTY answers get [[1]]"
