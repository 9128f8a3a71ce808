"""The values that pass between the parts of MT-Bench: question, answer, one request to the judge, its reply."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

__all__ = ["Answer", "Ask", "Question", "Reply"]

Ending = Literal["stop", "length", "failed"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """One MT-Bench question; ``references`` holds a reference answer or None for each turn."""

    question_id: int
    category: str
    turns: tuple[str, ...]
    references: tuple[str | None, ...]
    mended: bool = False
    """Half a surrogate pair stood in it, and is U+FFFD here."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One choice of one model for one question, a text and an ending for each turn."""

    question_id: int
    model: str
    choice: int
    turns: tuple[str, ...]
    endings: tuple[Ending, ...]
    mended: bool = False
    """Half a surrogate pair stood in it, and is U+FFFD here."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One judgment wanted. ``key`` is its identity: the same question, answer, prompt, judge, parameters and repeat.

    ``messages``: role and content, as sent. ``parameters``: temperature, max_tokens... as asked for.
    """

    question_id: int
    model: str
    choice: int
    turn: int
    """1 or 2."""
    repeat: int
    """0.., the judge asked again about the same thing."""
    judge: str
    messages: tuple[dict[str, str], ...]
    parameters: dict[str, Any]

    @property
    def key(self) -> str:
        """SHA-256 of what is sent and what it is about, 32 hex digits."""
        canonical = json.dumps(asdict(self), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the judge's service gave for one ``Ask``, as received: reading a score off it is ``parsing``'s work.

    Exactly one of ``text`` and ``failure`` is None. ValueError otherwise, and for a field of another type or range.
    """

    key: str
    text: str | None
    finish_reason: str | None
    failure: str | None = None
    """refused, filtered, transport (with what happened in ``detail``); None for a text."""
    detail: str = ""
    judge_returned: str | None = None
    """The model that the service says answered."""
    fingerprint: str | None = None
    request_id: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    attempts: int = 1
    adapted: tuple[str, ...] = field(default=())
    """Parameters left out or renamed because the service named them in a 400."""
    created: str = ""
    """UTC, ISO 8601."""
    served_by: str | None = None
    """Host of the service that answered: the same judge's name at another host may be another judge."""

    def __post_init__(self) -> None:
        for name in ("key", "detail", "created"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name}: a text expected")
        for name in ("text", "finish_reason", "judge_returned", "fingerprint", "request_id", "served_by"):
            if not isinstance(getattr(self, name), str | None):
                raise ValueError(f"{name}: a text or null expected")
        if not isinstance(self.adapted, tuple) or not all(isinstance(change, str) for change in self.adapted):
            raise ValueError("adapted: texts expected")
        if not _is_count(self.attempts) or self.attempts < 1:
            raise ValueError("attempts: a whole number from 1 expected")
        if not all(value is None or _is_count(value) for value in (self.prompt_tokens, self.completion_tokens)):
            raise ValueError("prompt_tokens and completion_tokens: whole numbers from 0, or null, expected")
        if self.created and datetime.fromisoformat(self.created).utcoffset() != timedelta(0):
            raise ValueError(f"created: a UTC time in ISO 8601 expected, got {self.created!r:.40}")
        if (self.text is None) == (self.failure is None):
            raise ValueError("a reply has either a text or a failure")
        if self.failure not in (None, "refused", "filtered", "transport"):
            raise ValueError(f"failure: refused, filtered or transport expected, got {self.failure!r:.40}")

    @property
    def final(self) -> bool:
        """Whether asking again would ask the same thing twice; a transport failure is asked again by the next run."""
        return self.failure != "transport"


def _is_count(value: object) -> bool:
    """A number that something was counted to: no service has ever told one of ten digits."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9
