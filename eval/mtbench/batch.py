"""The Batch API: the same asks and the same cache, at half the price and within a day."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from eval.mtbench.batch_api import LARGEST, BatchApi
from eval.mtbench.batch_book import FILE, Book, Entry
from eval.mtbench.budget import Budget
from eval.mtbench.cache import ReplyCache
from eval.mtbench.exchange import Exchange, adapted, failed, reply_of
from eval.mtbench.faults import LONGEST_DETAIL, Fault, Meaning, fault_inside, fault_of_status
from eval.mtbench.hostile import one_line
from eval.mtbench.items import Ask, Reply
from eval.mtbench.judge import Asked, Progress, final_reply, known, split
from eval.mtbench.limits import Patience
from eval.mtbench.preflight import what_to_set
from eval.mtbench.service import Service, Told

__all__ = ["ask_in_batch"]


async def ask_in_batch(
    asks: Sequence[Ask],
    *,
    cache: ReplyCache,
    service: Service,
    budget: Budget | None = None,
    poll_s: float = 60.0,
    say: Callable[[str], None] = lambda line: None,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> Asked:
    """As ``ask_all``, through batches. A batch is on the disk before it is made and its id before it is waited for:
    a later call looks for it, waits on, and asks anew only what it did not answer.

    ``budget`` lets a batch out only if all of it can be paid for (make it with ``batch=True``).
    """
    done, waiting = split(asks, cache, service)
    for ask, reply in done:
        if budget is not None:
            budget.spend(ask, reply)
        if progress is not None:
            progress(reply)
    submitted, stopped = 0, None
    if waiting:
        async with service.connect() as line:
            api = BatchApi(Exchange(line=line, patience=patience or Patience()))
            with Book.open(cache.folder) as book:
                round_ = _Round(
                    api=api,
                    book=book,
                    cache=cache,
                    service=service,
                    budget=budget,
                    poll_s=poll_s,
                    say=say,
                    progress=progress,
                )
                await round_.run(waiting)
        submitted, stopped = round_.submitted, round_.stopped
    return Asked(replies=known(asks, cache, service), cached=len(done), requests=submitted, stopped=stopped)


@dataclass(kw_only=True)
class _Round:
    """One call: what is out is collected, the rest is sent and collected."""

    api: BatchApi
    book: Book
    cache: ReplyCache
    service: Service
    budget: Budget | None
    poll_s: float
    say: Callable[[str], None]
    progress: Progress | None
    submitted: int = 0
    stopped: str | None = None

    async def run(self, waiting: Sequence[Ask]) -> None:
        """Collect and send until all is done or something stops it."""
        asks = {ask.key: ask for ask in waiting}
        for entry in self.book.out(self.service.host):
            if self.stopped is None and entry.keys & asks.keys():
                await self._resume(entry, asks)
        _, left = split(waiting, self.cache, self.service)
        for start in range(0, len(left), LARGEST):
            if self.stopped is None:
                await self._send(left[start : start + LARGEST])

    async def _resume(self, entry: Entry, asks: Mapping[str, Ask]) -> None:
        batch = entry.batch or await self.api.find(entry.nonce)
        if isinstance(batch, Fault):
            self._stop(batch)
        elif batch is None:  # it never came to be
            self.book.over(entry.nonce)
        else:
            self.say(f"batch {batch} of an earlier run is still to be collected")
            mine = {key: ask for key, ask in asks.items() if key in entry.keys}
            await self._collect(replace(entry, batch=batch), mine, last_word=False)

    async def _send(self, asks: Sequence[Ask]) -> None:
        if self.budget is not None and not self.budget.fits(asks):
            most = self.budget.most_usd(asks)
            detail = f"the batch may cost {most:.2f} USD beside {self.budget.spent_usd:.4f} that is spent"
            self._stop(Fault(meaning=Meaning.COST, detail=detail))
            return
        nonce = secrets.token_hex(16)
        self.book.planned(nonce, self.service.host, [ask.key for ask in asks])
        batch = await self.api.submit(asks, nonce)
        if isinstance(batch, Fault):
            self._stop(batch)
            return
        self.book.made(nonce, batch)
        self.submitted += len(asks)
        entry = Entry(nonce=nonce, keys=frozenset(ask.key for ask in asks), batch=batch)
        await self._collect(entry, {ask.key: ask for ask in asks}, last_word=True)

    async def _collect(self, entry: Entry, asks: Mapping[str, Ask], *, last_word: bool) -> None:
        """Wait, and put what came into the cache; ``last_word``: also that nothing came, which is then told."""
        ended = await self.api.ended(str(entry.batch), self.poll_s, self.say)
        results = ended if isinstance(ended, Fault) else await self.api.results(ended)
        if isinstance(ended, Fault) or isinstance(results, Fault):
            fault = ended if isinstance(ended, Fault) else results
            assert isinstance(fault, Fault)
            if fault.meaning is Meaning.MODEL and not last_word:  # the service keeps batches and files for a time
                self.say(f"batch {entry.batch} is no longer there; what it did not bring is asked again")
                self.book.over(entry.nonce)
            else:
                self._stop(fault)
            return
        refusal = _refusal(ended)
        for key, ask in asks.items():
            reply = self._reply(ask, results.get(key), refusal or f"the batch is {ended.get('status')} without it")
            if reply.final or last_word:
                self._take(ask, reply)
        # Results for asks of another command are left for that one to collect.
        if all(key in asks or final_reply(key, self.cache, self.service) for key in entry.keys):
            self.book.over(entry.nonce)
        if refusal and last_word:
            self.stopped = self.stopped or f"the service refused the batch: {refusal}"

    def _reply(self, ask: Ask, line: Mapping[str, Any] | None, otherwise: str) -> Reply:
        """What a line of a result file says about its ask; ``otherwise``: why there is none."""
        sent, changes = adapted(ask.parameters, self.service)
        answer = _answer(ask, line or {}, sent, self.service.host, otherwise)
        if isinstance(answer, Fault):
            if answer.stops:
                self.stopped = self.stopped or what_to_set(self.service, answer)
            answer = failed(ask, answer, self.service.host)
        return replace(answer, adapted=changes)

    def _take(self, ask: Ask, reply: Reply) -> None:
        self.cache.put(ask, reply)
        if self.budget is not None and reply.final:
            self.budget.spend(ask, reply)
        if self.progress is not None:
            self.progress(reply)

    def _stop(self, fault: Fault) -> None:
        if fault.meaning is Meaning.MODEL:  # 404: of these addresses, not of the judge
            told = f"the service at {self.service.base_url} has no Batch API ({fault.detail}): leave out --batch-api"
        elif fault.stops:
            told = what_to_set(self.service, fault)
        else:
            told = f"the Batch API does not answer ({fault.detail}): the same command goes on, {FILE} knows what is out"
        self.stopped = self.stopped or told


def _answer(ask: Ask, line: Mapping[str, Any], sent: Mapping[str, Any], host: str, otherwise: str) -> Reply | Fault:
    """A line has a ``response`` (status, body), or an ``error`` where the request was never run."""
    response, error = line.get("response"), line.get("error")
    if not isinstance(response, dict):
        told = error.get("message") if isinstance(error, dict) else None
        return Fault(meaning=Meaning.GIVE_UP, detail=one_line(str(told or otherwise), LONGEST_DETAIL))
    status, body, request_id = (response.get(name) for name in ("status_code", "body", "request_id"))
    if isinstance(status, int) and status >= 400:
        return fault_of_status(status, body, {}, sent, now_s=0.0)
    body = body if isinstance(body, dict) else {}
    told = Told(body=body, request_id=request_id if isinstance(request_id, str) else None)
    return fault_inside(body, sent) or reply_of(ask, told, host)


def _refusal(batch: Mapping[str, Any]) -> str | None:
    """Why a batch was not begun at all (a file it cannot read, a model it does not serve, too much at once)."""
    if batch.get("status") != "failed":
        return None
    errors = batch.get("errors")
    data = errors.get("data") if isinstance(errors, dict) else None
    first = data[0] if isinstance(data, list) and data and isinstance(data[0], dict) else {}
    return one_line(str(first.get("message") or "no reason was given"), LONGEST_DETAIL)
