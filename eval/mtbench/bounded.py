"""The HTTP client of the judge's line, which reads no more of an answer than anyone can have use for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpx2
from openai import DefaultAsyncHttpxClient

__all__ = ["BoundedClient", "TooLarge", "at_most"]

_MOST: ContextVar[int] = ContextVar("_MOST")
# They tell of the bytes on the wire; what is kept is decoded.
_OF_THE_WIRE = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})


class TooLarge(httpx2.HTTPError):
    """A response had a larger body than was allowed for; the rest of it was not read."""


@contextmanager
def at_most(largest: int) -> Iterator[None]:
    """Within this block, and this task, a response's body may have so many bytes once it is decoded."""
    before = _MOST.set(largest)
    try:
        yield
    finally:
        _MOST.reset(before)


class BoundedClient(DefaultAsyncHttpxClient):
    """Every body, errors' too, is read chunk by chunk and counted, for a few bytes may decode to gigabytes."""

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """The whole response. Raises TooLarge."""
        response = await super().send(request, **{**options, "stream": True})
        body = bytearray()
        try:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _MOST.get():
                    raise TooLarge(f"more than {_MOST.get()} bytes")
        finally:
            await response.aclose()
        return httpx2.Response(
            response.status_code,
            headers=[(name, text) for name, text in response.headers.raw if name.lower() not in _OF_THE_WIRE],
            content=bytes(body),
            request=request,
            extensions=response.extensions,
        )
