"""Ask the judge everything that has no reply yet, many at a time, each reply kept as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from eval.mtbench.budget import Budget
from eval.mtbench.cache import ReplyCache
from eval.mtbench.exchange import Exchange
from eval.mtbench.items import Ask, Reply
from eval.mtbench.limits import Patience
from eval.mtbench.preflight import what_to_set
from eval.mtbench.service import Service

__all__ = ["Asked", "Progress", "ask_all", "final_reply", "known", "split"]

Progress = Callable[[Reply], None]

# So many asks in a row given up, without a reply in between, and the service is gone: the rest is left for a rerun.
_GONE = 5


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What came of one round of asking."""

    replies: dict[str, Reply]
    """By key. An ask that a stop left alone is absent, or has the transport failure of an earlier run."""
    cached: int
    """Asks that had a final reply before."""
    requests: int
    """Chat completions sent, retries included."""
    stopped: str | None
    """One line why not all was asked (quota, key, --max-cost...); None where all was. Asking again goes on there."""


async def ask_all(
    asks: Sequence[Ask],
    *,
    cache: ReplyCache,
    service: Service,
    concurrency: int = 8,
    budget: Budget | None = None,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> Asked:
    """A reply for each ask: from ``cache`` where it is final, else from ``service``, put into ``cache`` once.

    ``progress`` is called with each ask's reply, cached ones first. Nothing the service does raises; a full disk does
    (OSError), and BadRequest comes where there is no key.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency must be 1 or more, got {concurrency}")
    done, waiting = split(asks, cache, service)
    for ask, reply in done:
        if budget is not None:
            budget.spend(ask, reply)
        if progress is not None:
            progress(reply)
    requests, stopped = 0, None
    if waiting:
        async with service.connect() as line:
            exchange = Exchange(line=line, patience=patience or Patience(), budget=budget)
            round_ = _Round(exchange, cache, progress)
            await round_.run(waiting, concurrency)
        requests, stopped = exchange.requests, round_.stopped
    return Asked(replies=known(asks, cache, service), cached=len(done), requests=requests, stopped=stopped)


def known(asks: Iterable[Ask], cache: ReplyCache, service: Service) -> dict[str, Reply]:
    """What the cache has for these asks from this service, by key."""
    found = ((ask.key, cache.get(ask.key, service.host)) for ask in asks)
    return {key: reply for key, reply in found if reply is not None}


def split(asks: Iterable[Ask], cache: ReplyCache, service: Service) -> tuple[list[tuple[Ask, Reply]], list[Ask]]:
    """What has its final reply, with it, and what is to be asked; each key once."""
    done, waiting = [], []
    for ask in {ask.key: ask for ask in asks}.values():
        if (reply := final_reply(ask.key, cache, service)) is not None:
            done.append((ask, reply))
        else:
            waiting.append(ask)
    return done, waiting


def final_reply(key: str, cache: ReplyCache, service: Service) -> Reply | None:
    """The reply that makes asking this service unnecessary."""
    reply = cache.get(key, service.host)
    return reply if reply is not None and reply.final else None


class _Round:
    """The workers of one call, and what stops them."""

    def __init__(self, exchange: Exchange, cache: ReplyCache, progress: Progress | None) -> None:
        self.stopped: str | None = None
        self._exchange = exchange
        self._cache = cache
        self._progress = progress

    async def run(self, asks: Sequence[Ask], concurrency: int) -> None:
        """Ask all; an exception of one worker (a full disk) ends the others and is raised."""
        queue = iter(asks)  # shared: each worker takes the next
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(concurrency, len(asks))):
                    group.create_task(self._work(queue))
        except ExceptionGroup as failures:
            failure = failures.exceptions[0]
        else:
            return
        raise failure

    async def _work(self, queue: Iterator[Ask]) -> None:
        while self.stopped is None and (ask := next(queue, None)) is not None:
            answer = await self._exchange.ask(ask)
            if isinstance(answer, Reply):
                self._take(ask, answer)
            else:
                self._stop(what_to_set(self._exchange.line.service, answer))

    def _take(self, ask: Ask, reply: Reply) -> None:
        self._cache.put(ask, reply)
        if self._exchange.unanswered >= _GONE:
            self._stop(f"the judge no longer answers ({reply.detail}): {_GONE} judgments in a row were given up")
        if self._progress is not None:
            self._progress(reply)

    def _stop(self, reason: str | None) -> None:
        self.stopped = self.stopped or reason
