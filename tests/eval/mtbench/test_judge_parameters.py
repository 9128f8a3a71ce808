"""A parameter that the service names in a 400: changed once for the run, and recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.eval.mtbench import judge_server as acts
from tests.eval.mtbench.judge_server import JudgeServer, asks
from tests.eval.mtbench.judging import check_ratings, go

pytestmark = pytest.mark.usefixtures("judge_key")


def _refuses(*names: str, message: str = "Unsupported parameter: '{}' is not supported with this model.") -> acts.Act:
    """A service that answers only requests without these parameters."""

    def act(handler: acts.Handler, seen: acts.Seen) -> None:
        named = next((name for name in names if name in seen.body), None)
        if named is None:
            acts.verdict()(handler, seen)
        else:
            acts.status(400, {"message": message.format(named), "type": "invalid_request_error"})(handler, seen)

    return act


def test_parameters_that_a_400_names_are_changed_once_for_the_run(judge_server: JudgeServer, tmp_path: Path) -> None:
    judge_server.usual = _refuses("temperature", "max_tokens")
    wanted = asks(30)
    asked = go(judge_server, tmp_path, wanted, concurrency=1)
    check_ratings(asked, wanted)
    changes = ("temperature left out", "max_tokens sent as max_completion_tokens")
    assert {reply.adapted for reply in asked.replies.values()} == {changes}
    assert asked.requests == 32
    body = judge_server.asked[-1].body
    assert "temperature" not in body and "max_tokens" not in body and body["max_completion_tokens"] == 2048


def test_requests_in_flight_together_learn_the_same_change(judge_server: JudgeServer, tmp_path: Path) -> None:
    judge_server.usual = _refuses("temperature", message="'{}' does not support 0 with this model. Only the default.")
    wanted = asks(40)
    asked = go(judge_server, tmp_path, wanted, concurrency=8)
    check_ratings(asked, wanted)
    assert asked.requests <= 40 + 8


def test_a_400_that_names_a_changed_parameter_again_is_given_up(judge_server: JudgeServer, tmp_path: Path) -> None:
    judge_server.usual = _refuses("max_tokens", "max_completion_tokens")
    (ask,) = wanted = asks(1)
    reply = go(judge_server, tmp_path, wanted).replies[ask.key]
    assert (reply.failure, reply.attempts) == ("transport", 2)


def test_a_temperature_out_of_range_is_left_out_whatever_the_message_says(
    judge_server: JudgeServer, tmp_path: Path
) -> None:
    message = "temperature must be at most 2 and at least 0.01, its maximum and minimum"
    judge_server.misbehave(acts.status(400, {"message": message, "param": "temperature"}))
    wanted = asks(1)
    check_ratings(go(judge_server, tmp_path, wanted), wanted)
    assert "temperature" not in judge_server.asked[-1].body


def test_a_prompt_that_is_too_long_changes_no_parameter(judge_server: JudgeServer, tmp_path: Path) -> None:
    message = "max_tokens is too large: 2048. The maximum context length is 4096 tokens and the request has 3000."
    judge_server.misbehave(acts.status(400, {"message": message, "param": "max_tokens"}))
    wanted = asks(2)
    asked = go(judge_server, tmp_path, wanted, concurrency=1)
    assert [asked.replies[ask.key].failure for ask in wanted] == ["transport", None]
    assert "max_tokens" in judge_server.asked[-1].body and len(judge_server.asked) == 2
