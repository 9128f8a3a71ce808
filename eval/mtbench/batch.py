"""The Batch API: the same asks and the same cache, at half the price and within a day."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from eval.mtbench.cache import ReplyCache
from eval.mtbench.items import Ask, Reply
from eval.mtbench.judge import Asked
from eval.mtbench.service import Service

__all__ = ["ask_in_batch"]


async def ask_in_batch(
    asks: Sequence[Ask],
    *,
    cache: ReplyCache,
    service: Service,
    poll_s: float = 60.0,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[Reply], None] | None = None,
) -> Asked:
    """As ``ask_all``. The batch's id is on the disk before it is waited for: a later call goes on waiting."""
    raise NotImplementedError
