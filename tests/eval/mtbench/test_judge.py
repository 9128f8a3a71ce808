"""The real openai client against a service that misbehaves: nothing lost, nothing counted twice."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from eval.mtbench.cache import ReplyCache
from eval.mtbench.items import Ask, Reply
from eval.mtbench.service import Service, same_judge
from tests.eval.mtbench import judge_server as acts
from tests.eval.mtbench.judge_server import JudgeServer, asks
from tests.eval.mtbench.judging import Time, check_ratings, go, lines

pytestmark = pytest.mark.usefixtures("judge_key")


def test_a_reply_is_kept_with_all_that_the_service_said(judge_server: JudgeServer, tmp_path: Path) -> None:
    judge_server.usual = acts.verdict(model="gpt-4-0613")
    (ask,) = wanted = asks(1)
    reply = go(judge_server, tmp_path, wanted).replies[ask.key]
    assert (reply.judge_returned, reply.fingerprint, reply.request_id) == ("gpt-4-0613", "fp_test", "req-test")
    assert (reply.prompt_tokens, reply.completion_tokens, reply.finish_reason) == (100, 20, "stop")
    assert (reply.attempts, reply.adapted, reply.served_by) == (1, (), "127.0.0.1")
    sent = judge_server.asked[0].body
    assert sent == {"model": "gpt-4", "messages": list(ask.messages), "temperature": 0, "max_tokens": 2048}
    (line,) = lines(tmp_path)
    assert line["asked"]["judge"] == "gpt-4" and line["asked"]["question_id"] == 81


BREAKDOWNS = {
    "429": acts.status(429, {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}),
    "429 as html": acts.raw(acts.HTML, code=429, kind="text/html"),
    "500": acts.status(500),
    "502 as html": acts.raw(acts.HTML, code=502, kind="text/html"),
    "503": acts.status(503),
    "html as 200": acts.raw(acts.HTML, kind="text/html"),
    "html called json": acts.raw(acts.HTML),
    "torn": acts.torn,
    "torn quietly": acts.torn_quietly,
    "dropped": acts.dropped,
    "empty body": acts.raw(b""),
    "a list": acts.raw(b"[]"),
    "null": acts.raw(b"null"),
    "no choices": acts.raw(b'{"choices": []}'),
    "null choices": acts.raw(b'{"choices": null, "usage": 3}'),
    "a choice that is none": acts.raw(b'{"choices": ["x"]}'),
    "no message": acts.raw(b'{"choices": [{"message": null}]}'),
    "null text": acts.verdict(text=None),
    "text in parts": acts.verdict(text=[{"type": "text", "text": "[[10]]"}]),
    "an error as 200": acts.raw(b'{"error": {"message": "overloaded"}}'),
    "not utf-8": acts.raw(b'{"choices": "\xff\xfe"}'),
    "nested deeply": acts.raw(b"[" * 100_000),
}


@pytest.mark.parametrize("name", BREAKDOWNS)
def test_each_breakdown_is_asked_again_and_counted_once(name: str, judge_server: JudgeServer, tmp_path: Path) -> None:
    judge_server.misbehave(BREAKDOWNS[name], BREAKDOWNS[name])
    wanted = asks(1)
    asked = go(judge_server, tmp_path, wanted)
    check_ratings(asked, wanted)
    assert asked.replies[wanted[0].key].attempts == 3 == asked.requests == len(judge_server.asked)
    assert len(lines(tmp_path)) == 1 and asked.stopped is None


def test_silence_is_given_up_after_the_timeout_and_asked_again(judge_server: JudgeServer, tmp_path: Path) -> None:
    judge_server.misbehave(acts.silent)
    wanted = asks(1)
    service = Service(judge="gpt-4", base_url=judge_server.url, timeout_s=0.3)
    check_ratings(go(judge_server, tmp_path, wanted, service=service), wanted)
    assert len(judge_server.asked) == 2


def test_everything_at_once_loses_nothing_and_doubles_nothing(judge_server: JudgeServer, tmp_path: Path) -> None:
    judge_server.misbehave(*[act for name, act in BREAKDOWNS.items() for _ in range(3)])
    wanted = asks(120)
    asked = go(judge_server, tmp_path, wanted, concurrency=16, patience=Time().patience(attempts=100))
    check_ratings(asked, wanted)
    kept = lines(tmp_path)
    assert Counter(line["key"] for line in kept) == {ask.key: 1 for ask in wanted}
    assert asked.requests == len(judge_server.asked) == 120 + 3 * len(BREAKDOWNS)
    assert sum(line["attempts"] for line in kept) == asked.requests
    before = len(judge_server.asked)
    again = go(judge_server, tmp_path, wanted)
    assert (again.cached, again.requests, len(judge_server.asked)) == (120, 0, before)
    assert again.replies == asked.replies


def test_a_key_is_asked_once_however_often_it_is_wanted(judge_server: JudgeServer, tmp_path: Path) -> None:
    asked = go(judge_server, tmp_path, asks(3) * 4, concurrency=8)
    assert len(judge_server.asked) == 3 == len(asked.replies)


def test_no_more_than_concurrency_are_out_at_a_time(judge_server: JudgeServer, tmp_path: Path) -> None:
    out, most = [0], [0]

    def act(handler: acts.Handler, seen: acts.Seen) -> None:
        out[0] += 1
        most[0] = max(most[0], out[0])
        time.sleep(0.01)
        out[0] -= 1
        acts.verdict()(handler, seen)

    judge_server.usual = act
    go(judge_server, tmp_path, asks(40), concurrency=3)
    assert 2 <= most[0] <= 3


def test_what_is_given_up_is_no_reply_and_is_asked_again_by_the_next_run(
    judge_server: JudgeServer, tmp_path: Path
) -> None:
    judge_server.misbehave(*[acts.status(500)] * 4)
    (ask,) = wanted = asks(1)
    first = go(judge_server, tmp_path, wanted)
    reply = first.replies[ask.key]
    assert (reply.failure, reply.final, reply.attempts, first.stopped) == ("transport", False, 4, None)
    assert "HTTP 500" in reply.detail
    second = go(judge_server, tmp_path, wanted)
    check_ratings(second, wanted)
    assert second.cached == 0 and [line["failure"] for line in lines(tmp_path)] == ["transport", None]


def test_a_service_that_is_gone_is_not_asked_a_hundred_times_over(judge_server: JudgeServer, tmp_path: Path) -> None:
    judge_server.usual = acts.dropped
    asked = go(judge_server, tmp_path, asks(100), concurrency=1)
    assert asked.stopped is not None and "no longer answers" in asked.stopped
    assert asked.requests == 5 * 4


def test_requests_that_no_retry_mends_are_no_sign_of_a_service_that_is_gone(
    judge_server: JudgeServer, tmp_path: Path
) -> None:
    too_long = {"message": "This model's maximum context length is 8192 tokens.", "code": "context_length_exceeded"}
    judge_server.misbehave(*[acts.status(400, too_long)] * 9)
    asked = go(judge_server, tmp_path, asks(12), concurrency=1)
    assert asked.stopped is None and asked.requests == 12
    assert Counter(reply.failure for reply in asked.replies.values()) == {"transport": 9, None: 3}


def test_a_message_of_the_service_cannot_steer_a_terminal(judge_server: JudgeServer, tmp_path: Path) -> None:
    judge_server.misbehave(acts.status(400, {"message": "\x1b[2Jgone\n\u202e" + "x" * 9999}))
    (ask,) = wanted = asks(1)
    detail = go(judge_server, tmp_path, wanted).replies[ask.key].detail
    assert detail.isprintable() and len(detail) <= 300 and "gone" in detail


def test_a_full_disk_ends_the_run_as_what_it_is(
    judge_server: JudgeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: ReplyCache, ask: Ask, reply: Reply) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ReplyCache, "put", full)
    with pytest.raises(OSError, match="No space left"):
        go(judge_server, tmp_path, asks(20), concurrency=4)
    assert len(judge_server.asked) <= 8


FINAL = {
    "refused": (acts.verdict(text=None, refusal="I will not."), "refused"),
    "filtered": (acts.verdict(text=None, finish_reason="content_filter"), "filtered"),
    "filtered midway": (acts.verdict(text="A good", finish_reason="content_filter"), "filtered"),
    "filtered by status": (acts.status(400, {"message": "no", "code": "content_filter"}), "filtered"),
    "cut": (acts.verdict(text="A good", finish_reason="length"), None),
    "cut before text": (acts.verdict(text=None, finish_reason="length"), None),
    "empty": (acts.verdict(text=""), None),
    "no usage": (acts.verdict(usage=None), None),
    "half a surrogate pair": (acts.verdict(text="\ud800 [[7]]"), None),
    "cut by status": (
        acts.status(400, {"message": "Could not finish the message because max_tokens or model output limit was "
                          "reached."}),
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FINAL)
def test_each_final_reply_is_taken_at_its_word(name: str, judge_server: JudgeServer, tmp_path: Path) -> None:
    act, failure = FINAL[name]
    judge_server.usual = act
    (ask,) = wanted = asks(1)
    reply = go(judge_server, tmp_path, wanted).replies[ask.key]
    assert reply.failure == failure and reply.final and (reply.text is None) == (failure is not None)
    assert go(judge_server, tmp_path, wanted).replies[ask.key] == reply
    assert len(judge_server.asked) == 1


STOPS = {
    "quota": (acts.status(429, {"message": "You exceeded your quota", "code": "insufficient_quota"}), "quota"),
    "quota by type": (acts.status(429, {"message": "x", "type": "insufficient_quota", "code": None}), "add credit"),
    "key": (acts.status(401, {"message": "Incorrect API key", "code": "invalid_api_key"}), "OPENAI_API_KEY"),
    "model": (acts.status(404, {"message": "deprecated", "code": "model_not_found"}), "--judge"),
}


@pytest.mark.parametrize("name", STOPS)
def test_what_no_retry_mends_stops_the_run_and_keeps_what_there_is(
    name: str, judge_server: JudgeServer, tmp_path: Path
) -> None:
    act, told = STOPS[name]
    judge_server.misbehave(*[acts.verdict()] * 3)
    judge_server.usual = act
    wanted = asks(10)
    asked = go(judge_server, tmp_path, wanted, concurrency=1)
    assert asked.stopped is not None and told in asked.stopped and "\n" not in asked.stopped
    assert len(asked.replies) == 3 == len(lines(tmp_path)) and len(judge_server.asked) == 4
    judge_server.usual = acts.verdict()
    check_ratings(go(judge_server, tmp_path, wanted), wanted)
    assert len(judge_server.asked) == 4 + 7


def test_the_same_judge_at_another_host_is_asked_anew(judge_server: JudgeServer, tmp_path: Path) -> None:
    (ask,) = wanted = asks(1)
    go(judge_server, tmp_path, wanted)
    elsewhere = Service(judge="gpt-4", base_url=judge_server.url.replace("127.0.0.1", "localhost"))
    assert go(judge_server, tmp_path, wanted, service=elsewhere).replies[ask.key].served_by == "localhost"
    assert len(judge_server.asked) == 2


def test_progress_tells_of_each_reply_once(judge_server: JudgeServer, tmp_path: Path) -> None:
    go(judge_server, tmp_path, asks(3))
    told: list[Reply] = []
    go(judge_server, tmp_path, asks(5), progress=told.append)
    assert Counter(reply.key for reply in told) == {ask.key: 1 for ask in asks(5)}


@pytest.mark.parametrize(
    ("returned", "same"),
    [("gpt-4", True), ("gpt-4-0613", True), ("gpt-4-2023-06-13", True), ("gpt-4o", False), ("gpt-4-turbo", False),
     ("gpt-4-1106-preview", False), ("gpt-4.1", False), (None, False), ("GPT-4-06133", False)],
)  # fmt: skip
def test_a_dated_snapshot_is_the_same_judge_and_nothing_else_is(returned: str | None, same: bool) -> None:
    assert same_judge("gpt-4", returned) is same
