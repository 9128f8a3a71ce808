"""The judge's service: which model, at which address, with which key; one request to it and what came back.

The key is read from the environment and lives in this module alone. Whatever the service sends is redacted before
anything else sees it, for a service may echo what it was sent.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from bench.errors import BadRequest
from eval.mtbench.faults import Fault, Meaning, fault_inside, fault_of_status

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["DEFAULT_URL", "KEY_VARIABLE", "LARGEST_COMPLETION", "Line", "Service", "Told", "same_judge"]

DEFAULT_URL = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"

# A verdict of 2048 tokens is a few kilobytes.
LARGEST_COMPLETION = 16 * 2**20
_URL_VARIABLE = "OPENAI_BASE_URL"
_REDACTED = "[key]"
# Local services take any key: EMPTY, none or x are no secrets, and striking them out would mangle verdicts.
_SHORTEST_SECRET = 6
# A name, or the inside of an IPv6 address's brackets; a name in other letters is written in its ASCII form (RFC 5890).
_HOST = re.compile(r"(?!.*[^.]{64})[A-Za-z0-9_.-]+|[0-9A-Fa-f:.]+")
_SNAPSHOT = re.compile(r"-(\d{4}|\d{4}-\d{2}-\d{2})")


@dataclass(frozen=True, kw_only=True)
class Service:
    """An OpenAI-compatible service and the judge asked of it. No repr, and no record made of its fields, has the key.

    Raises BadRequest for an address that is none, or that carries a password.
    """

    judge: str
    base_url: str = DEFAULT_URL
    timeout_s: float = 300.0
    """Seconds for one request, its whole answer included."""
    renamed: dict[str, str | None] = field(default_factory=dict, compare=False)
    """Parameters that a 400 named -> the name they go by instead, or None for left out. Filled as the run learns."""

    def __post_init__(self) -> None:
        try:
            address = urlsplit(self.base_url)
            port = address.port
        except ValueError:  # brackets that do not close, a port that is none
            address, port = urlsplit(""), None
        if address.scheme not in ("http", "https") or port == 0 or not _HOST.fullmatch(address.hostname or ""):
            raise BadRequest(
                "--judge-base-url: an address such as http://localhost:8000/v1 is needed, got another thing"
            )
        if address.username or address.password or address.query or address.fragment:
            raise BadRequest(f"--judge-base-url: give scheme, host and path alone; the key belongs into {KEY_VARIABLE}")
        if not self.judge.strip():
            raise BadRequest("--judge is empty; give the name of a model, such as --judge gpt-4")

    @classmethod
    def from_environment(cls, judge: str, base_url: str | None = None, *, timeout_s: float = 300.0) -> Self:
        """The service; ``base_url``: ``--judge-base-url``, else ``OPENAI_BASE_URL``, else OpenAI's. Needs no key."""
        return cls(judge=judge, base_url=base_url or os.environ.get(_URL_VARIABLE) or DEFAULT_URL, timeout_s=timeout_s)

    def check_key(self) -> None:
        """Raises BadRequest where ``OPENAI_API_KEY`` is not set, or no key."""
        self._key()

    @property
    def host(self) -> str:
        """Where the judge is served, without the port: a local one may move between ports."""
        return urlsplit(self.base_url).hostname or ""

    def _key(self) -> str:
        key = os.environ.get(KEY_VARIABLE, "").strip()
        if not key:
            raise BadRequest(
                f"{KEY_VARIABLE} is not set, and the judge {self.judge} needs a key: export {KEY_VARIABLE}=... "
                f"(any text, such as EMPTY, for a local service with --judge-base-url)"
            )
        if not key.isascii() or not key.isprintable() or " " in key:
            raise BadRequest(f"{KEY_VARIABLE} holds spaces or letters that no key has; export it again, key alone")
        return key

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Line]:
        """A line to the service, closed at the end. Retrying is ours, so the client's own is off."""
        from openai import AsyncOpenAI

        from eval.mtbench.bounded import BoundedClient

        # OPENAI_LOG=debug would write the headers of every response, and a service may echo the key in one.
        for name in ("openai", "httpx2", "httpcore2"):
            logging.getLogger(name).setLevel(logging.WARNING)
        key = self._key()
        client = AsyncOpenAI(
            api_key=key,
            base_url=self.base_url,
            timeout=self.timeout_s,
            max_retries=0,
            # A redirect would carry the questions, and the key within one host, to where nobody asked.
            http_client=BoundedClient(follow_redirects=False),
        )
        async with client:
            yield Line(service=self, client=client, key=key)


@dataclass(frozen=True, kw_only=True)
class Told:
    """A response of status 2xx: its JSON, redacted, and the id the service gave the request."""

    body: Any
    request_id: str | None


@dataclass(frozen=True, kw_only=True)
class Line:
    """An open client. Its methods return what happened and never raise for it: no exception carries the key away."""

    service: Service
    client: AsyncOpenAI = field(repr=False)
    key: str = field(repr=False)

    async def complete(self, messages: Sequence[Mapping[str, str]], parameters: Mapping[str, Any]) -> Told | Fault:
        """One chat completion with exactly these parameters, sent once."""
        # Typed as the roles' own dictionaries there, which role and content are.
        given: Any = [dict(message) for message in messages]
        request = self.client.chat.completions.with_raw_response.create(
            model=self.service.judge, messages=given, extra_body=dict(parameters)
        )
        return await self.attempt(request, parameters)

    async def attempt(self, request: Any, parameters: Mapping[str, Any] | None = None) -> Told | Fault:
        """Await a raw request of the client's; a fault where it fails, or its body is no JSON object."""
        response = await self.attempt_bytes(request, parameters)
        if isinstance(response, Fault):
            return response
        content, request_id = response
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            return _cut_off("the response is no JSON, or was cut short")
        if not isinstance(body, dict):
            return _cut_off("the response is no JSON object")
        told = self.redact(body)
        return fault_inside(told, parameters or {}) or Told(body=told, request_id=request_id)

    async def attempt_bytes(
        self, request: Any, parameters: Mapping[str, Any] | None = None, *, largest: int = LARGEST_COMPLETION
    ) -> tuple[bytes, str | None] | Fault:
        """Body and request id of a raw request, not yet redacted; a fault where it fails, takes longer than
        ``timeout_s`` in all, or brings more than ``largest`` bytes (decoded)."""
        import httpx2
        import openai

        from eval.mtbench.bounded import TooLarge, at_most

        try:
            with at_most(largest):
                # The client's own timeout is of silence: a service that drips would hold the request for ever.
                async with asyncio.timeout(self.service.timeout_s):
                    response = (await request).http_response
                    content = await response.aread()
        except openai.APIStatusError as error:
            return self._fault(error.response, error.body, parameters or {})
        except (TimeoutError, openai.APITimeoutError):
            return _cut_off(f"no answer within {self.service.timeout_s:g} s")
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            if isinstance(error.__cause__ or error, TooLarge):
                return _cut_off(f"the response is larger than {largest:,} bytes")
            # Its cause names the reason (refused, reset, unknown host); its text may hold what was received.
            reason = type(error.__cause__ or error).__name__
            return _cut_off(f"no connection, or a dropped one ({reason})")
        except openai.OpenAIError as error:
            return _cut_off(f"no usable response ({type(error).__name__})")
        request_id = response.headers.get("x-request-id")
        return content, None if request_id is None else str(self.redact(request_id))

    def redact(self, value: Any) -> Any:
        """``value`` with the key struck out of every string in it, names included; half surrogates made ``?``."""
        if isinstance(value, str):
            whole = value.encode("utf-8", "replace").decode("utf-8")
            return whole.replace(self.key, _REDACTED) if len(self.key) >= _SHORTEST_SECRET else whole
        if isinstance(value, dict):
            return {self.redact(name): self.redact(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.redact(item) for item in value]
        return value

    def _fault(self, response: Any, body: object, parameters: Mapping[str, Any]) -> Fault:
        headers = {name.lower(): str(self.redact(text)) for name, text in response.headers.items()}
        # The client unwraps {"error": ...} where it can; a body that is no JSON comes as text and says nothing.
        told = self.redact(body) if isinstance(body, dict) else {}
        return fault_of_status(response.status_code, told, headers, parameters, now_s=time.time())


def _cut_off(detail: str) -> Fault:
    return Fault(meaning=Meaning.RETRY, detail=detail, perhaps_billed=True)


def same_judge(requested: str, returned: str | None) -> bool:
    """Whether the service answered with the model asked for, or a dated snapshot of it (gpt-4: gpt-4-0613)."""
    if returned is None or returned == requested:
        return returned is not None
    return returned.startswith(requested) and _SNAPSHOT.fullmatch(returned, len(requested)) is not None
