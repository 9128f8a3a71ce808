"""The Batch API: what is paid for is collected, through kills, lost answers and torn files, and once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from eval.mtbench import batch_api
from eval.mtbench.batch import ask_in_batch
from eval.mtbench.budget import Budget
from eval.mtbench.cache import ReplyCache
from eval.mtbench.cost import Price
from eval.mtbench.items import Ask
from eval.mtbench.judge import Asked, ask_all
from eval.mtbench.limits import Patience
from eval.mtbench.service import Service
from tests.eval.mtbench import judge_server as acts
from tests.eval.mtbench.batch_server import BatchDesk, expired, refused_with
from tests.eval.mtbench.judge_server import JudgeServer, asks, rating_for

pytestmark = pytest.mark.usefixtures("judge_key")
QUICK = Patience(attempts=4, first_s=0.001, longest_s=0.002, longest_wish_s=1.0)
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def desk(judge_server: JudgeServer) -> BatchDesk:
    """The server's Batch API."""
    return BatchDesk(server=judge_server)


def go(desk: BatchDesk, folder: Path, wanted: list[Ask], **options: Any) -> Asked:
    """Ask in batches, with a cache in that folder."""
    service = options.pop("service", None) or Service(judge="gpt-4", base_url=desk.server.url, timeout_s=5.0)
    with ReplyCache.open(folder) as cache:
        told = {"patience": QUICK, "poll_s": 0.001, **options}
        return asyncio.run(ask_in_batch(wanted, cache=cache, service=service, **told))


def kept(folder: Path) -> Counter[str]:
    """How often each key has a final reply in the file."""
    lines = map(json.loads, (folder / "replies.jsonl").read_text().splitlines())
    return Counter(line["key"] for line in lines if line["failure"] != "transport")


def check_all(desk: BatchDesk, folder: Path, asked: Asked, wanted: list[Ask], batches: int = 1) -> None:
    """Every ask has its own verdict, once, from so many batches."""
    for ask in wanted:
        rating = rating_for(ask.messages[-1]["content"])
        assert asked.replies[ask.key].text == f"A fair answer. Rating: [[{rating}]]"
    assert kept(folder) == {ask.key: 1 for ask in wanted}
    assert len(desk.batches) == batches and not desk.server.asked and asked.stopped is None


def test_a_batch_brings_every_reply_and_a_second_call_asks_nothing(desk: BatchDesk, tmp_path: Path) -> None:
    wanted = asks(160)
    news: list[str] = []
    told: list[str] = []
    asked = go(desk, tmp_path, wanted, say=news.append, progress=lambda reply: told.append(reply.key))
    check_all(desk, tmp_path, asked, wanted)
    assert asked.requests == 160 and Counter(told) == {ask.key: 1 for ask in wanted}
    assert any("in_progress" in line for line in news) and "160 of 160" in news[-1]
    reply = asked.replies[wanted[0].key]
    assert (reply.request_id, reply.judge_returned, reply.prompt_tokens) == ("req-batch", "gpt-4", 100)
    before = len(desk.server.seen)
    again = go(desk, tmp_path, wanted)
    assert (again.replies, again.cached, again.requests) == (asked.replies, 160, 0)
    assert len(desk.server.seen) == before


def test_lines_are_what_a_live_request_would_have_been(desk: BatchDesk, tmp_path: Path) -> None:
    wanted = asks(2)
    service = Service(judge="gpt-4", base_url=desk.server.url, renamed={"temperature": None})
    asked = go(desk, tmp_path, wanted, service=service)
    lines = [json.loads(line) for line in desk.files["file-0"].splitlines()]
    assert [line["custom_id"] for line in lines] == [ask.key for ask in wanted]
    body = {"model": "gpt-4", "messages": list(wanted[0].messages), "max_tokens": 2048}
    assert lines[0] == {"custom_id": wanted[0].key, "method": "POST", "url": "/v1/chat/completions", "body": body}
    assert asked.replies[wanted[0].key].adapted == ("temperature left out",)


def test_live_and_batch_share_one_cache(desk: BatchDesk, tmp_path: Path) -> None:
    wanted = asks(10)
    service = Service(judge="gpt-4", base_url=desk.server.url)
    with ReplyCache.open(tmp_path) as cache:
        asyncio.run(ask_all(wanted[:4], cache=cache, service=service))
    asked = go(desk, tmp_path, wanted)
    assert (asked.cached, asked.requests, len(desk.server.asked)) == (4, 6, 4)
    assert kept(tmp_path) == {ask.key: 1 for ask in wanted}


LOST = [acts.dropped, acts.torn, acts.torn_quietly, acts.status(500), acts.raw(acts.HTML, kind="text/html"),
        acts.status(429, Retry_After="0.001"), acts.raw(b"{}")]  # fmt: skip


# Of retrieve an empty object is no breakdown: a batch that has not ended.
CALLS = [(call, act) for call in ("upload", "create", "retrieve") for act in LOST]


@pytest.mark.parametrize(("call", "act"), CALLS[:-1])
def test_each_call_survives_each_breakdown(call: str, act: acts.Act, desk: BatchDesk, tmp_path: Path) -> None:
    desk.acts[call].extend([act, act])
    check_all(desk, tmp_path, go(desk, tmp_path, asks(3)), asks(3))


@pytest.mark.parametrize("act", LOST)
def test_a_batch_whose_creation_was_not_answered_is_found_and_not_made_again(
    act: acts.Act, desk: BatchDesk, tmp_path: Path
) -> None:
    desk.acts["create"].append(desk.create_and(act))
    desk.acts["list"].append(acts.dropped)
    check_all(desk, tmp_path, go(desk, tmp_path, asks(3)), asks(3))


def test_result_files_that_come_cut_short_are_fetched_again(desk: BatchDesk, tmp_path: Path) -> None:
    def cut(share: float, at_line_end: bool) -> acts.Act:
        def act(handler: acts.Handler, seen: acts.Seen) -> None:
            whole = desk.files[seen.path.split("/")[3]]
            end = int(len(whole) * share)
            end = whole.index(b"\n", end) + 1 if at_line_end else end
            handler.send_bytes(200, whole[:end], "text/plain", {}, None)

        return act

    desk.acts["content"].extend([cut(0.5, False), cut(0.3, True), acts.dropped])
    check_all(desk, tmp_path, go(desk, tmp_path, asks(6)), asks(6))


class Stopped(Exception):
    """A call that ends while it waits."""


async def _never(seconds: float) -> None:
    raise Stopped


def interrupted(desk: BatchDesk, folder: Path, wanted: list[Ask]) -> None:
    """A call that is stopped at its first wait."""
    with pytest.raises(Stopped):
        go(desk, folder, wanted, patience=Patience(sleep=_never))


def test_a_stopped_wait_goes_on_with_the_batch_there_is(desk: BatchDesk, tmp_path: Path) -> None:
    interrupted(desk, tmp_path, asks(5))
    asked = go(desk, tmp_path, asks(5))
    check_all(desk, tmp_path, asked, asks(5))
    assert asked.requests == 0


def test_what_is_new_is_sent_beside_what_is_out(desk: BatchDesk, tmp_path: Path) -> None:
    interrupted(desk, tmp_path, asks(5))
    asked = go(desk, tmp_path, asks(8))
    check_all(desk, tmp_path, asked, asks(8), batches=2)
    assert asked.requests == 3


def test_a_batch_of_other_asks_is_left_for_the_command_that_wants_them(desk: BatchDesk, tmp_path: Path) -> None:
    interrupted(desk, tmp_path, asks(5))
    assert go(desk, tmp_path, asks(2)).requests == 0
    asked = go(desk, tmp_path, asks(5))
    check_all(desk, tmp_path, asked, asks(5))
    assert asked.requests == 0


def test_a_kill_between_creation_and_the_book_loses_no_batch(desk: BatchDesk, tmp_path: Path) -> None:
    interrupted(desk, tmp_path, asks(5))
    for _ in range(5):  # later ones of somebody else: the list has several pages
        desk.batches[f"other_{_}"] = {"id": f"other_{_}", "metadata": None}
    book = tmp_path / "batches.jsonl"
    planned, made = book.read_text().splitlines()
    assert json.loads(made)["event"] == "made"
    book.write_text(planned + "\n" + made[:20])
    asked = go(desk, tmp_path, asks(5))
    assert asked.requests == 0 and kept(tmp_path) == {ask.key: 1 for ask in asks(5)}


def test_a_batch_that_never_came_to_be_is_made(desk: BatchDesk, tmp_path: Path) -> None:
    desk.acts["create"].extend([acts.status(500)] * 4)
    first = go(desk, tmp_path, asks(3))
    assert first.stopped is not None and "the same command goes on" in first.stopped and not desk.batches
    check_all(desk, tmp_path, go(desk, tmp_path, asks(3)), asks(3))


def test_a_batch_the_service_no_longer_has_is_asked_anew(desk: BatchDesk, tmp_path: Path) -> None:
    interrupted(desk, tmp_path, asks(3))
    desk.acts["retrieve"].append(acts.status(404))
    check_all(desk, tmp_path, go(desk, tmp_path, asks(3)), asks(3), batches=2)


def test_errors_of_single_requests_are_theirs_alone_and_are_asked_again(desk: BatchDesk, tmp_path: Path) -> None:
    wanted = asks(6)
    keys = [ask.key for ask in wanted]
    desk.results = {
        keys[0]: refused_with(500),
        keys[1]: refused_with(400, type="content_filter"),
        keys[2]: lambda line: None,
        keys[3]: lambda line: {"custom_id": line["custom_id"], "response": {"status_code": 200, "body": None}},
    }
    first = go(desk, tmp_path, wanted)
    assert [first.replies[key].failure for key in keys] == [
        "transport",
        "filtered",
        "transport",
        "transport",
        None,
        None,
    ]
    assert "HTTP 500" in first.replies[keys[0]].detail and "without it" in first.replies[keys[2]].detail
    desk.results = {}
    second = go(desk, tmp_path, wanted)
    assert [second.replies[key].failure for key in keys] == [None, "filtered", None, None, None, None]
    assert (second.requests, len(desk.batches)) == (3, 2) and kept(tmp_path) == {key: 1 for key in keys}


def test_what_expired_is_asked_again_and_what_was_done_is_kept(desk: BatchDesk, tmp_path: Path) -> None:
    wanted = asks(4)
    desk.ends_as = "expired"
    desk.results = {ask.key: expired for ask in wanted[1:]}
    first = go(desk, tmp_path, wanted)
    assert [first.replies[ask.key].final for ask in wanted] == [True, False, False, False]
    assert "expired" in first.replies[wanted[1].key].detail
    desk.ends_as, desk.results = "completed", {}
    assert go(desk, tmp_path, wanted).requests == 3 and kept(tmp_path) == {ask.key: 1 for ask in wanted}


def test_a_batch_that_expired_while_nobody_looked_is_sent_again_at_once(desk: BatchDesk, tmp_path: Path) -> None:
    interrupted(desk, tmp_path, asks(3))
    desk.polls, desk.ends_as, desk.results = 0, "expired", {ask.key: expired for ask in asks(3)}
    retrieve = desk._retrieve

    def then_well(name: str) -> acts.Body:
        told = retrieve(name)
        desk.ends_as, desk.results = "completed", {}
        return told

    desk._retrieve = then_well  # type: ignore[method-assign]
    check_all(desk, tmp_path, go(desk, tmp_path, asks(3)), asks(3), batches=2)


def test_a_batch_that_is_refused_is_one_line(desk: BatchDesk, tmp_path: Path) -> None:
    desk.ends_as = "failed"
    asked = go(desk, tmp_path, asks(2))
    assert asked.stopped is not None and "The model does not exist." in asked.stopped
    assert {reply.failure for reply in asked.replies.values()} == {"transport"}


def test_a_service_without_batches_is_one_line(judge_server: JudgeServer, tmp_path: Path) -> None:
    desk = BatchDesk(server=judge_server)
    judge_server.routes.clear()
    asked = go(desk, tmp_path, asks(2))
    assert asked.stopped is not None and "leave out --batch-api" in asked.stopped and not asked.replies


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (acts.status(401), "OPENAI_API_KEY"),
        (acts.status(429, {"message": "q", "code": "insufficient_quota"}), "credit"),
    ],
)
def test_a_key_or_quota_that_fails_is_one_line(act: acts.Act, told: str, desk: BatchDesk, tmp_path: Path) -> None:
    desk.acts["upload"].append(act)
    asked = go(desk, tmp_path, asks(2))
    assert asked.stopped is not None and told in asked.stopped


def test_many_asks_are_several_batches(desk: BatchDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eval.mtbench.batch.LARGEST", 4)
    assert batch_api.LARGEST * 20_000 <= 200 * 10**6  # bytes a file may have, at more than any judgment's length
    check_all(desk, tmp_path, go(desk, tmp_path, asks(10)), asks(10), batches=3)


def test_max_cost_lets_out_only_what_it_can_pay_for(desk: BatchDesk, tmp_path: Path) -> None:
    price = Price(model="gpt-4", input_usd=1000.0, output_usd=2000.0, date="2026-01-01", source="https://example.org")
    most = Budget(1.0, price, batch=True).most_usd(asks(3))
    short = go(desk, tmp_path, asks(3), budget=Budget(0.99 * most, price, batch=True))
    assert short.stopped is not None and "--max-cost" in short.stopped and not desk.files
    budget = Budget(1.01 * most, price, batch=True)
    assert go(desk, tmp_path, asks(3), budget=budget).stopped is None
    assert budget.spent_usd == pytest.approx(3 * 0.14 / 2)


def test_no_file_holds_the_key_that_results_echo(desk: BatchDesk, judge_key: str, tmp_path: Path) -> None:
    wanted = asks(2)

    def echo(line: acts.Body) -> acts.Body:
        body = acts.completion_of(line["body"], text=judge_key, model=judge_key)
        return {"custom_id": line["custom_id"], "response": {"status_code": 200, "request_id": judge_key, "body": body}}

    desk.results = {wanted[0].key: echo, wanted[1].key: refused_with(400, message=judge_key)}
    asked = go(desk, tmp_path, wanted)
    told = [repr(asked), *(path.read_text() for path in tmp_path.iterdir())]
    assert not [text for text in told if judge_key in text] and "[key]" in str(asked.replies[wanted[0].key].text)


_RUN = """
import asyncio, sys
from pathlib import Path
from eval.mtbench.batch import ask_in_batch
from eval.mtbench.cache import ReplyCache
from eval.mtbench.service import Service
from tests.eval.mtbench.judge_server import asks

with ReplyCache.open(Path(sys.argv[1])) as cache:
    service = Service(judge="gpt-4", base_url=sys.argv[2])
    asyncio.run(ask_in_batch(asks(160), cache=cache, service=service, poll_s=0.01))
"""


@pytest.mark.parametrize("event", ["planned", "made"])
def test_a_killed_process_pays_for_no_second_batch(event: str, desk: BatchDesk, tmp_path: Path) -> None:
    desk.polls = 10**9
    desk.server.delay_s = 0.05
    book = tmp_path / "batches.jsonl"
    child = subprocess.Popen([sys.executable, "-c", _RUN, str(tmp_path), desk.server.url], cwd=ROOT)
    try:
        while child.poll() is None and not (book.exists() and f'"{event}"' in book.read_text()):
            time.sleep(0.005)
        assert child.poll() is None
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    desk.polls = 0
    check_all(desk, tmp_path, go(desk, tmp_path, asks(160)), asks(160))
