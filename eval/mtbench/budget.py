"""``--max-cost``: money is set aside before a request goes out, so that the sum is never passed."""

from __future__ import annotations

from eval.mtbench.cost import Price

__all__ = ["Budget"]


class Budget:
    """``limit_usd`` for all judgments of a command, those already in the cache included."""

    def __init__(self, limit_usd: float, price: Price) -> None:
        raise NotImplementedError
