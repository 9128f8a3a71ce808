"""``--max-cost``: money is set aside before a request goes out, so that the sum is never passed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from eval.mtbench.cost import Price, worst_case
from eval.mtbench.items import Ask, Reply

__all__ = ["Budget"]


class Budget:
    """``limit_usd`` for all judgments of a command, those already in the cache included.

    A request is paid for by what it may cost at most, until its reply says what it did cost. One that was cut off
    (a timeout, a torn body) may have been billed and stays paid for at most; one that the service turned away with a
    status was not billed.
    """

    def __init__(self, limit_usd: float, price: Price, *, batch: bool = False) -> None:
        if not limit_usd > 0:
            raise ValueError(f"limit_usd must be above 0, got {limit_usd}")
        self.limit_usd = limit_usd
        self.spent_usd = 0.0
        """Replies and requests that may have been billed."""
        self._price = price
        self._batch = batch
        self._reserved_usd: list[float] = []
        self._waiting: list[asyncio.Future[None]] = []

    def spend(self, ask: Ask, reply: Reply) -> None:
        """Count a reply; one that does not tell its tokens at the most it can have cost."""
        prompt, completion = worst_case(ask)
        prompt = prompt if reply.prompt_tokens is None else reply.prompt_tokens
        completion = completion if reply.completion_tokens is None else reply.completion_tokens
        self.spent_usd += self._price.usd(prompt, completion, batch=self._batch)

    def most_usd(self, asks: Sequence[Ask]) -> float:
        """What asking these once can cost at most."""
        return sum(self._price.usd(*worst_case(ask), batch=self._batch) for ask in asks)

    def fits(self, asks: Sequence[Ask]) -> bool:
        """Whether asking all of these can be paid for beside what is in flight."""
        return self.spent_usd + sum(self._reserved_usd) + self.most_usd(asks) <= self.limit_usd

    async def reserve(self, ask: Ask) -> bool:
        """Set aside for one request, waiting for those in flight to cost less than they might; False if it never fits.

        Follow with one ``settle``.
        """
        while not self.fits([ask]):
            if not self._reserved_usd:
                return False
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self._reserved_usd.append(self.most_usd([ask]))
        return True

    def settle(self, ask: Ask, *, reply: Reply | None = None, perhaps_billed: bool = False) -> None:
        """Give back what was set aside for one request, and count what it cost."""
        most = self.most_usd([ask])
        self._reserved_usd.remove(most)
        if reply is not None:
            self.spend(ask, reply)
        elif perhaps_billed:
            self.spent_usd += most
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            if not turn.done():
                turn.set_result(None)
