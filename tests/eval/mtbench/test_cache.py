"""Replies survive kills, torn lines and second processes; nothing that was paid for is asked again."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BadRequest
from eval.mtbench.cache import ReplyCache
from eval.mtbench.items import Ask, Reply
from eval.mtbench.journal import Journal
from eval.mtbench.judge import ask_all
from eval.mtbench.service import Service
from tests.eval.mtbench.judge_server import JudgeServer, asks

ROOT = Path(__file__).resolve().parents[3]


def reply_to(ask: Ask, text: str | None = "Rating: [[7]]", failure: str | None = None) -> Reply:
    """A reply as the judge's service gives it."""
    return Reply(key=ask.key, text=text, finish_reason="stop", failure=failure, detail="x", served_by="h")


def given_up(ask: Ask) -> Reply:
    """A transport failure."""
    return reply_to(ask, None, "transport")


def filled(folder: Path, count: int) -> list[Ask]:
    """A cache of so many replies."""
    wanted = asks(count)
    with ReplyCache.open(folder) as cache:
        for ask in wanted:
            cache.put(ask, reply_to(ask))
    return wanted


def test_what_was_put_is_read_again_field_by_field(tmp_path: Path) -> None:
    (ask,) = asks(1)
    full = Reply(
        key=ask.key,
        text="\u2028 \ud800 \x00 [[7]]\n",
        finish_reason="stop",
        judge_returned="gpt-4-0613",
        fingerprint="fp",
        request_id="r",
        prompt_tokens=3,
        completion_tokens=4,
        attempts=2,
        adapted=("temperature left out",),
        created="2026-11-21T00:00:00+00:00",
        served_by="h",
    )
    with ReplyCache.open(tmp_path) as cache:
        cache.put(ask, full)
        assert cache.get(ask.key, "h") == full
    assert ReplyCache.read(tmp_path).get(ask.key, "h") == full
    assert len((tmp_path / "replies.jsonl").read_bytes().splitlines()) == 1


def test_the_last_final_reply_wins_over_what_was_given_up(tmp_path: Path) -> None:
    first, second, third = wanted = asks(3)
    with ReplyCache.open(tmp_path) as cache:
        for ask, reply in (
            (first, given_up(first)),
            (first, reply_to(first, "[[1]]")),
            (first, reply_to(first, "[[2]]")),
            (second, given_up(second)),
            (third, reply_to(third, "[[3]]")),
            (third, given_up(third)),
        ):
            cache.put(ask, reply)
        before = [cache.get(ask.key, "h") for ask in wanted]
    after = ReplyCache.read(tmp_path)
    assert [after.get(ask.key, "h") for ask in wanted] == before and len(after) == 3
    assert before == [reply_to(first, "[[2]]"), given_up(second), reply_to(third, "[[3]]")]


def test_a_reply_is_on_the_disk_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (ask,) = asks(1)
    on_disk: list[bytes] = []
    with ReplyCache.open(tmp_path) as cache:
        monkeypatch.setattr(os, "fsync", lambda descriptor: on_disk.append((tmp_path / "replies.jsonl").read_bytes()))
        cache.put(ask, reply_to(ask))
    assert len(on_disk) == 1 and json.loads(on_disk[0])["key"] == ask.key


def test_a_torn_last_line_is_put_aside_at_every_length(tmp_path: Path) -> None:
    wanted = filled(tmp_path / "whole", 2)
    whole = (tmp_path / "whole" / "replies.jsonl").read_bytes()
    end = whole.index(b"\n") + 1
    for cut in range(end + 1, len(whole) - 1, 37):
        path = tmp_path / str(cut) / "replies.jsonl"
        path.parent.mkdir()
        path.write_bytes(whole[:cut])
        with ReplyCache.open(path.parent) as cache:
            assert cache.get(wanted[0].key, "h") and cache.get(wanted[1].key, "h") is None and not cache.damaged
            cache.put(wanted[1], reply_to(wanted[1]))
        assert path.read_bytes() == whole
        assert path.with_name("replies.jsonl.torn").read_bytes() == whole[end:cut] + b"\n"


def test_a_whole_last_line_that_lacks_only_its_end_is_kept(tmp_path: Path) -> None:
    wanted = filled(tmp_path, 2)
    path = tmp_path / "replies.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with ReplyCache.open(tmp_path) as cache:
        assert cache.get(wanted[1].key, "h") == reply_to(wanted[1])
    assert path.read_bytes() == whole and not path.with_name("replies.jsonl.torn").exists()


def test_reading_alone_changes_no_byte_and_needs_no_folder(tmp_path: Path) -> None:
    wanted = filled(tmp_path, 2)
    path = tmp_path / "replies.jsonl"
    path.write_bytes(torn := path.read_bytes()[:-9])
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    cache = ReplyCache.read(tmp_path)
    assert cache.get(wanted[0].key, "h") and cache.get(wanted[1].key, "h") is None
    assert [damage.line for damage in cache.damaged] == [2] and path.read_bytes() == torn
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert len(ReplyCache.read(tmp_path / "none")) == 0 and not (tmp_path / "none").exists()


GOOD = {"key": "k", "text": "x", "finish_reason": None, "served_by": "h"}


DAMAGES: tuple[dict[str, Any], ...] = (
    *({"key": 3}, {"text": None}, {"text": ["x"]}, {"unknown": 1}, {"failure": "boredom"}),
    *({"text": None, "failure": "boredom"}, {"text": None, "failure": ["refused"]}, {"finish_reason": 1}),
    *({"prompt_tokens": "many"}, {"prompt_tokens": -1}, {"completion_tokens": True}),
    *({"completion_tokens": 10**400}, {"completion_tokens": 1.5}, {"attempts": {}}, {"attempts": 0}),
    *({"detail": [1]}, {"detail": None}, {"judge_returned": 4}, {"fingerprint": []}, {"request_id": {}}),
    *({"created": "2026-13-45"}, {"created": 5}, {"created": "2026-11-21T00:00:00"}, {"created": None}),
    *({"adapted": 3}, {"adapted": [{"a": 1}]}, {"adapted": "xy"}, {"adapted": None}),
    *({"served_by": None}, {"served_by": 7}),
)
NO_OBJECTS = (b"{", b"null", b"[]", b'{"key": "k"}', b"\xff", b"[" * 99999)


@pytest.mark.parametrize("line", [*NO_OBJECTS, *(json.dumps({**GOOD, **damage}).encode() for damage in DAMAGES)])
def test_a_damaged_line_in_the_middle_is_listed_and_left_where_it_is(line: bytes, tmp_path: Path) -> None:
    wanted = filled(tmp_path, 2)
    path = tmp_path / "replies.jsonl"
    first, second = path.read_bytes().splitlines()
    path.write_bytes(content := b"\n".join([first, line, b"", second, b""]))
    with ReplyCache.open(tmp_path) as cache:
        assert all(cache.get(ask.key, "h") for ask in wanted) and len(cache) == 2
        assert [damage.line for damage in cache.damaged] == [2] and cache.damaged[0].reason
    assert path.read_bytes() == content


def test_the_line_that_the_damaged_ones_differ_from_is_a_reply(tmp_path: Path) -> None:
    (tmp_path / "replies.jsonl").write_text(json.dumps(GOOD) + "\n")
    cache = ReplyCache.read(tmp_path)
    assert not cache.damaged and cache.get("k", "h") is not None and cache.get("k", "elsewhere") is None


def test_a_second_run_on_the_folder_is_refused_in_one_line_and_may_read(tmp_path: Path) -> None:
    wanted = filled(tmp_path, 1)
    code = (
        "import sys; from pathlib import Path; from eval.mtbench.cache import ReplyCache\n"
        "from bench.errors import BadRequest\n"
        "folder = Path(sys.argv[1])\n"
        "print(len(ReplyCache.read(folder)))\n"
        "try:\n    ReplyCache.open(folder)\nexcept BadRequest as error:\n    print(error)\n"
    )
    with ReplyCache.open(tmp_path) as cache:
        told = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, cwd=ROOT
        )
        count, refusal = told.stdout.splitlines()
        assert count == "1" and "another run is writing" in refusal and "--out" in refusal
        with pytest.raises(BadRequest):  # nor twice in one process
            ReplyCache.open(tmp_path)
        cache.put(wanted[0], reply_to(wanted[0]))
    with ReplyCache.open(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadRequest, match="--out"):
        ReplyCache.open(tmp_path / "file" / "folder")


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with Journal.open(path) as journal:
        journal.append({"first": 1})
        before = path.read_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            with pytest.raises(OSError):
                journal.append({"second": "x" * 2000})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, ignored)
        assert path.read_bytes() == before
        journal.append({"third": 3})
    assert path.read_bytes() == before + b'{"third": 3}\n'


_RUN = """
import asyncio, sys
from pathlib import Path
from eval.mtbench.cache import ReplyCache
from eval.mtbench.judge import ask_all
from eval.mtbench.service import Service
from tests.eval.mtbench.judge_server import asks

with ReplyCache.open(Path(sys.argv[1])) as cache:
    service = Service(judge="gpt-4", base_url=sys.argv[2])
    asyncio.run(ask_all(asks(160), cache=cache, service=service, concurrency=8))
"""


def test_160_judgments_killed_twice_cost_at_most_what_was_in_flight(
    judge_key: str, judge_server: JudgeServer, tmp_path: Path
) -> None:
    judge_server.delay_s = 0.02
    path = tmp_path / "replies.jsonl"
    for at_least in (40, 100):
        child = subprocess.Popen([sys.executable, "-c", _RUN, str(tmp_path), judge_server.url], cwd=ROOT)
        try:
            while child.poll() is None and _lines(path) < at_least:
                time.sleep(0.005)
            assert child.poll() is None, "it was to be killed midway"
        finally:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
        assert at_least <= _lines(path) < 160
    wanted = asks(160)
    with ReplyCache.open(tmp_path) as cache:
        service = Service(judge="gpt-4", base_url=judge_server.url)
        asked = asyncio.run(ask_all(wanted, cache=cache, service=service))
        assert not cache.damaged
    assert asked.replies.keys() == {ask.key for ask in wanted} and asked.stopped is None
    keys = [json.loads(line)["key"] for line in path.read_bytes().splitlines()]
    assert Counter(keys) == {ask.key: 1 for ask in wanted}
    assert 160 <= len(judge_server.asked) <= 160 + 2 * 8


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
