"""How long to wait before asking again, for one request and for all of them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

__all__ = ["Gate", "Patience"]


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Exponential backoff with full jitter: before attempt n, uniform(0, min(longest, first * 2^n)) seconds.

    Full jitter spreads requests that failed together (Brooker, Exponential Backoff and Jitter, AWS Architecture
    Blog, 2015). The clock, the sleep and the draw can be given, for tests that take no time.
    """

    attempts: int = 8
    """Requests for one judgment at most; those a 429 turned away count too."""
    first_s: float = 1.0
    longest_s: float = 60.0
    longest_wish_s: float = 600.0
    """A Retry-After beyond this is not waited for: the judgment is left for another run."""
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    draw: Callable[[float, float], float] = field(default=random.uniform)

    def __post_init__(self) -> None:
        if self.attempts < 1 or not 0 < self.first_s <= self.longest_s:
            raise ValueError("at least one attempt, and 0 < first_s <= longest_s")

    def backoff_s(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row (1..)."""
        return self.draw(0.0, min(self.longest_s, self.first_s * 2.0 ** (failures - 1)))


class Gate:
    """What every request passes before it goes out; a 429 shuts it for all of them."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._opens_at = -float("inf")

    def shut(self, seconds: float) -> None:
        """Let nothing through for so long, or for as long as it is shut already where that is longer."""
        self._opens_at = max(self._opens_at, self._patience.clock() + seconds)

    async def passage(self) -> None:
        """Return when the gate is open. Those who waited leave spread over a first backoff, not all at once."""
        while (left := self._opens_at - self._patience.clock()) > 0:
            await self._patience.sleep(left + self._patience.backoff_s(1))
