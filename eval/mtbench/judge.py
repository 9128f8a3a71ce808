"""Ask the judge everything that has no reply yet, many at a time, each reply kept as it comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eval.mtbench.budget import Budget
from eval.mtbench.cache import ReplyCache
from eval.mtbench.items import Ask, Reply
from eval.mtbench.service import Service

__all__ = ["Asked", "ask_all"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What came of one round of asking."""

    replies: dict[str, Reply]
    """By key. An ask that a stop left alone is absent, or has the transport failure of an earlier run."""
    cached: int
    """Asks that had a final reply before."""
    requests: int
    """HTTP requests sent, retries included."""
    stopped: str | None
    """One line why not all was asked (quota, key, --max-cost...); None where all was. Asking again goes on there."""


async def ask_all(
    asks: Sequence[Ask],
    *,
    cache: ReplyCache,
    service: Service,
    concurrency: int = 8,
    budget: Budget | None = None,
    progress: Callable[[Reply], None] | None = None,
) -> Asked:
    """A reply for each ask: from ``cache`` where it is final, else from ``service``, put into ``cache`` once.

    ``progress`` is called with each ask's reply, cached ones first. Never raises for what the service does.
    """
    raise NotImplementedError
