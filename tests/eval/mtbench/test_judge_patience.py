"""How long a request is waited for: Retry-After, backoff, and a pause that all share."""

from __future__ import annotations

import asyncio
import email.utils
import time
from pathlib import Path

import pytest

from eval.mtbench.limits import Gate, Patience
from tests.eval.mtbench import judge_server as acts
from tests.eval.mtbench.judge_server import JudgeServer, asks
from tests.eval.mtbench.judging import Time, go, longest

pytestmark = pytest.mark.usefixtures("judge_key")


def test_retry_after_in_seconds_is_waited_for(judge_server: JudgeServer, tmp_path: Path) -> None:
    judge_server.misbehave(acts.status(429, Retry_After="17"), acts.status(503, Retry_After="23"))
    waited = Time()
    go(judge_server, tmp_path, asks(1), patience=waited.patience())
    assert waited.slept[0] >= 17 and waited.slept[1] == 23


def test_retry_after_as_a_date_is_waited_for(judge_server: JudgeServer, tmp_path: Path) -> None:
    judge_server.misbehave(acts.status(503, Retry_After=email.utils.formatdate(time.time() + 40, usegmt=True)))
    waited = Time()
    go(judge_server, tmp_path, asks(1), patience=waited.patience())
    assert 30 < waited.slept[0] <= 40


def test_a_429_without_a_wish_is_waited_for_by_backoff(judge_server: JudgeServer, tmp_path: Path) -> None:
    judge_server.misbehave(acts.status(429), acts.status(429))
    waited = Time()
    go(judge_server, tmp_path, asks(1), patience=waited.patience())
    assert waited.now >= 1 + 2


def test_a_shut_gate_holds_up_everyone() -> None:
    clock = Time()

    async def until(seconds: float) -> None:
        end = clock.now + seconds
        while clock.now < end:
            await asyncio.sleep(0)

    async def turns() -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    async def scenario() -> None:
        gate = Gate(clock.patience(sleep=until))
        await gate.passage()
        gate.shut(60)
        gate.shut(5)  # opens no sooner for it
        waiting = [asyncio.create_task(gate.passage()) for _ in range(3)]
        for clock.now in (0.0, 10.0, 59.0):
            await turns()
            assert not any(task.done() for task in waiting)
        clock.now = 61.0
        await asyncio.gather(*waiting)

    asyncio.run(scenario())


def test_a_wish_beyond_all_patience_is_left_for_another_run(judge_server: JudgeServer, tmp_path: Path) -> None:
    judge_server.misbehave(acts.status(429, Retry_After="90000"))
    waited = Time()
    (ask,) = wanted = asks(1)
    reply = go(judge_server, tmp_path, wanted, patience=waited.patience()).replies[ask.key]
    assert (reply.failure, reply.attempts, waited.slept) == ("transport", 1, [])


def test_backoff_doubles_up_to_its_limit_and_is_drawn_in_full() -> None:
    patience = Patience(first_s=1.0, longest_s=10.0, draw=longest)
    assert [patience.backoff_s(n) for n in range(1, 7)] == [1, 2, 4, 8, 10, 10]
    drawn = [Patience().backoff_s(3) for _ in range(200)]
    assert 0 <= min(drawn) < 1 and 3 < max(drawn) <= 4
