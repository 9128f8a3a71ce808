"""Asking a judge's service on this machine, in time that the test owns."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from eval.mtbench.cache import ReplyCache
from eval.mtbench.items import Ask
from eval.mtbench.judge import Asked, ask_all
from eval.mtbench.limits import Patience
from eval.mtbench.service import Service
from tests.eval.mtbench import judge_server as acts
from tests.eval.mtbench.judge_server import JudgeServer


class Time:
    """A clock that only sleeping moves: tests wait for nothing, and see how long was waited."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def patience(self, **changes: Any) -> Patience:
        """Of four attempts, that draws the longest wait each time."""
        told: dict[str, Any] = {"attempts": 4, "clock": lambda: self.now, "sleep": self.sleep, "draw": longest}
        return Patience(**{**told, **changes})


def longest(least: float, most: float) -> float:
    return most


def go(server: JudgeServer, folder: Path, wanted: list[Ask], **options: Any) -> Asked:
    """Ask all, in a cache of that folder."""
    service = options.pop("service", None) or Service(judge="gpt-4", base_url=server.url, timeout_s=5.0)
    options.setdefault("patience", Time().patience())
    with ReplyCache.open(folder) as cache:
        return asyncio.run(ask_all(wanted, cache=cache, service=service, **options))


def lines(folder: Path) -> list[dict[str, Any]]:
    """What the cache's file holds."""
    return [json.loads(line) for line in (folder / "replies.jsonl").read_text().splitlines()]


def check_ratings(asked: Asked, wanted: list[Ask]) -> None:
    """Each ask has the verdict that belongs to its own prompt."""
    for ask in wanted:
        rating = acts.rating_for(ask.messages[-1]["content"])
        assert asked.replies[ask.key].text == f"A fair answer. Rating: [[{rating}]]"
