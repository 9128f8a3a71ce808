"""The judge's service: which model, at which address, with which key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

__all__ = ["DEFAULT_URL", "Service", "same_judge"]

DEFAULT_URL = "https://api.openai.com/v1"


@dataclass(frozen=True, kw_only=True)
class Service:
    """An OpenAI-compatible service and the judge model asked of it. The key is no field: no repr or record has it."""

    judge: str
    base_url: str = DEFAULT_URL
    timeout_s: float = 300.0
    """Seconds for one request."""

    @classmethod
    def from_environment(cls, judge: str, base_url: str | None = None, *, timeout_s: float = 300.0) -> Self:
        """The service with ``OPENAI_API_KEY``; ``base_url``: ``--judge-base-url``, else ``OPENAI_BASE_URL``, else
        OpenAI's. Raises BadRequest without a key or with an address that is none."""
        raise NotImplementedError


def same_judge(requested: str, returned: str | None) -> bool:
    """Whether the service answered with the model asked for, or a dated snapshot of it (gpt-4: gpt-4-0613)."""
    raise NotImplementedError
