"""What a service may not do to a run: hold a request for ever, send without end, or call an error a success."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path
from typing import Any

import pytest

from eval.mtbench.budget import Budget
from eval.mtbench.cache import ReplyCache
from eval.mtbench.cost import Price
from eval.mtbench.items import Ask
from eval.mtbench.judge import Asked, ask_all
from eval.mtbench.limits import Patience
from eval.mtbench.service import LARGEST_COMPLETION, Service
from tests.eval.mtbench import judge_server as acts
from tests.eval.mtbench.judge_server import Handler, JudgeServer, Seen, asks

pytestmark = pytest.mark.usefixtures("judge_key")

PRICE = Price(model="gpt-4", input_usd=1000.0, output_usd=2000.0, date="2026-01-01", source="https://example.org")


def go(server: JudgeServer, folder: Path, wanted: list[Ask], *, timeout_s: float = 30.0, **options: Any) -> Asked:
    """Each ask tried once."""
    service = Service(judge="gpt-4", base_url=server.url, timeout_s=timeout_s)
    with ReplyCache.open(folder) as cache:
        return asyncio.run(ask_all(wanted, cache=cache, service=service, patience=Patience(attempts=1), **options))


def dripping(handler: Handler, seen: Seen) -> None:
    """A byte now and then, so that the line is never silent for long."""
    handler.send_bytes(200, b" ", "application/json", {}, 10_000)
    try:
        while not handler.server.closing.wait(0.05):
            handler.wfile.write(b" ")
    except OSError:  # the client has gone
        handler.close_connection = True


def test_a_service_that_drips_is_given_up_at_the_deadline_and_counted_as_billed(
    judge_server: JudgeServer, tmp_path: Path
) -> None:
    judge_server.misbehave(dripping)
    (ask,) = wanted = asks(1)
    budget = Budget(100.0, PRICE)

    async def within() -> Asked:
        service = Service(judge="gpt-4", base_url=judge_server.url, timeout_s=1.0)
        with ReplyCache.open(tmp_path) as cache:
            asking = ask_all(wanted, cache=cache, service=service, budget=budget, patience=Patience(attempts=1))
            return await asyncio.wait_for(asking, 20)

    reply = asyncio.run(within()).replies[ask.key]
    assert reply.failure == "transport" and "no answer within 1 s" in reply.detail
    assert budget.spent_usd == budget.most_usd(wanted)


@pytest.mark.parametrize("code", [200, 500])
def test_a_body_without_end_is_not_read_to_it(code: int, judge_server: JudgeServer, tmp_path: Path) -> None:
    bomb = gzip.compress(b" " * (4 * LARGEST_COMPLETION))  # 65 kB

    def act(handler: Handler, seen: Seen) -> None:
        handler.send_bytes(code, bomb, "application/json", {"content-encoding": "gzip"}, None)

    judge_server.usual = act
    (ask,) = wanted = asks(1)
    reply = go(judge_server, tmp_path, wanted).replies[ask.key]
    assert reply.failure == "transport" and "larger than 16,777,216 bytes" in reply.detail


def test_a_compressed_answer_is_read(judge_server: JudgeServer, tmp_path: Path) -> None:
    import json

    def act(handler: Handler, seen: Seen) -> None:
        content = gzip.compress(json.dumps(acts.completion_of(seen.body)).encode())
        handler.send_bytes(200, content, "application/json", {"content-encoding": "gzip"}, None)

    judge_server.usual = act
    (ask,) = wanted = asks(1)
    assert "Rating: [[" in str(go(judge_server, tmp_path, wanted).replies[ask.key].text)


def test_an_error_in_a_success_is_told_by_its_own_message(judge_server: JudgeServer, tmp_path: Path) -> None:
    judge_server.usual = acts.raw(b'{"error": {"message": "the engine is overloaded"}}')
    (ask,) = wanted = asks(1)
    reply = go(judge_server, tmp_path, wanted).replies[ask.key]
    assert reply.failure == "transport" and "the engine is overloaded" in reply.detail


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (b'{"message": "spent", "code": "insufficient_quota"}', "add credit"),
        (b'{"message": "who?", "code": 401}', "OPENAI_API_KEY"),
    ],
)
def test_an_error_that_stops_does_so_with_any_status(
    error: bytes, told: str, judge_server: JudgeServer, tmp_path: Path
) -> None:
    judge_server.usual = acts.raw(b'{"error": %s, "choices": null}' % error)
    asked = go(judge_server, tmp_path, asks(3), concurrency=1)
    assert asked.stopped is not None and told in asked.stopped and len(judge_server.asked) == 1
