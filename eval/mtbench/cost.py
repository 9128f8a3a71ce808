"""What the judgments will cost: calls, tokens, and a range of dollars from a dated list of prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.mtbench.items import Ask

__all__ = ["Cost", "Price", "estimate", "price_of"]


@dataclass(frozen=True, kw_only=True)
class Price:
    """USD per million tokens."""

    model: str
    input_usd: float
    output_usd: float
    date: str
    """When the price was read, ISO 8601."""
    source: str
    """URL."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """An estimate. ``low_usd`` and ``high_usd`` are None where the price is not known."""

    calls: int
    prompt_tokens: int
    counted_by: str
    """``cl100k_base``, or how it was approximated and how far that may be off."""
    low_usd: float | None
    """Verdicts as long as GPT-4's usually are."""
    high_usd: float | None
    """Every verdict as long as it may get."""
    price: Price | None
    batch: bool
    """At the Batch API's half price."""


def price_of(judge: str, prices: Path | None = None) -> Price | None:
    """The price of a model or of the model it is a dated snapshot of; None where it is not known.

    ``prices``: a file in the schema of ``prices.json``, the default. Raises BadRequest where it cannot be read.
    """
    raise NotImplementedError


def estimate(asks: Sequence[Ask], *, price: Price | None, batch: bool = False) -> Cost:
    """What asking all of ``asks`` would cost; leave out those that are in the cache. Asks nobody: works offline."""
    raise NotImplementedError
