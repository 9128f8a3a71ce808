"""The Batch API, call by call (platform.openai.com/docs/guides/batch): file up, batch made, waited for, files down."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from eval.mtbench.exchange import Exchange, adapted
from eval.mtbench.faults import Fault, Meaning
from eval.mtbench.items import Ask
from eval.mtbench.service import Told

__all__ = ["LARGEST", "BatchApi"]

LARGEST = 10_000
"""Asks in a batch; the service takes 50,000 requests and 200 MB."""

_ENDPOINT: Final = "/v1/chat/completions"
_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
# The name under which a batch carries its nonce: by it one is found whose creation was not answered.
_MARK = "asked_as"
_PAGE = 100
# 10,000 verdicts of 2048 tokens, each some 10 kB, with what stands around them.
_LARGEST_FILE = 2**29


class BatchApi:
    """Calls on an open line, each retried as a judgment's is. A fault is told after patience has ended."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._line = exchange.line

    async def submit(self, asks: Sequence[Ask], nonce: str) -> str | Fault:
        """Make a batch and return its id. One that was made although the answer got lost is found, not made again."""
        content = b"".join(self._request_line(ask) for ask in asks)

        async def upload() -> str | Fault:
            files = self._line.client.files.with_raw_response
            return _id_of(await self._line.attempt(files.create(file=("asks.jsonl", content), purpose="batch")))

        file = await self._exchange.persist(upload)
        if isinstance(file, Fault):
            return file
        tried = False

        async def create() -> str | Fault:
            nonlocal tried
            if tried and (made := await self.find(nonce)) is not None:
                return made
            tried = True
            request = self._line.client.batches.with_raw_response.create(
                input_file_id=file, endpoint=_ENDPOINT, completion_window="24h", metadata={_MARK: nonce}
            )
            return _id_of(await self._line.attempt(request))

        return await self._exchange.persist(create)

    async def find(self, nonce: str) -> str | Fault | None:
        """The id of the batch made with ``nonce``; None where there is none."""
        after: str | None = None
        while True:
            batches = self._line.client.batches.with_raw_response
            told = await self._line.attempt(
                batches.list(limit=_PAGE) if after is None else batches.list(limit=_PAGE, after=after)
            )
            if isinstance(told, Fault):
                return told
            page = [batch for batch in _list(told.body.get("data")) if isinstance(batch, dict)]
            for batch in page:
                if _dict(batch.get("metadata")).get(_MARK) == nonce and isinstance(batch.get("id"), str):
                    return str(batch["id"])
            if not told.body.get("has_more") or not page:
                return None
            after = str(page[-1].get("id"))

    async def ended(self, batch: str, poll_s: float, progress: Callable[[str], None]) -> dict[str, Any] | Fault:
        """Wait until the batch has ended, however; what the service says of it then."""

        async def retrieve() -> Told | Fault:
            return await self._line.attempt(self._line.client.batches.with_raw_response.retrieve(batch))

        said = ""
        while True:
            told = await self._exchange.persist(retrieve)
            if isinstance(told, Fault):
                return told
            counts = _dict(told.body.get("request_counts"))
            news = f"batch {batch}: {told.body.get('status')}, {counts.get('completed')} of {counts.get('total')} done"
            if news != said:
                progress(news)
                said = news
            if told.body.get("status") in _ENDED:
                return dict(told.body)
            await self._exchange.patience.sleep(poll_s)

    async def results(self, batch: Mapping[str, Any]) -> dict[str, dict[str, Any]] | Fault:
        """Lines of an ended batch's output and error files, by ``custom_id``; the first of one id counts."""
        counts = _dict(batch.get("request_counts"))
        found: dict[str, dict[str, Any]] = {}
        for name, count in (("output_file_id", "completed"), ("error_file_id", "failed")):
            file = batch.get(name)
            if not isinstance(file, str) or not file:
                continue
            lines = await self._download(file, counts.get(count))
            if isinstance(lines, Fault):
                return lines
            for line in lines:
                found.setdefault(str(line.get("custom_id")), line)
        return found

    async def _download(self, file: str, count: object) -> list[dict[str, Any]] | Fault:
        async def once() -> list[dict[str, Any]] | Fault:
            told = await self._line.attempt_bytes(
                self._line.client.files.with_raw_response.content(file), largest=_LARGEST_FILE
            )
            if isinstance(told, Fault):
                return told
            lines = _parsed(told[0].split(b"\n"))
            if lines is None or (isinstance(count, int) and len(lines) < count):
                return Fault(meaning=Meaning.RETRY, detail=f"the file {file} came cut short")
            return [self._line.redact(line) for line in lines]

        return await self._exchange.persist(once)

    def _request_line(self, ask: Ask) -> bytes:
        sent, _ = adapted(ask.parameters, self._line.service)
        body = {"model": self._line.service.judge, "messages": list(ask.messages), **sent}
        return json.dumps({"custom_id": ask.key, "method": "POST", "url": _ENDPOINT, "body": body}).encode() + b"\n"


def _parsed(lines: Iterable[bytes]) -> list[dict[str, Any]] | None:
    """The objects of these lines; None where one is none."""
    try:
        values = [json.loads(line) for line in lines if line.strip()]
    except (ValueError, RecursionError):
        return None
    return values if all(isinstance(value, dict) for value in values) else None


def _id_of(told: Told | Fault) -> str | Fault:
    if isinstance(told, Fault):
        return told
    name = told.body.get("id")
    return name if isinstance(name, str) and name else Fault(meaning=Meaning.RETRY, detail="the response has no id")


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
