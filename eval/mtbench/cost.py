"""What the judgments will cost: calls, tokens, and a range of dollars from a dated list of prices."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from bench.errors import BadRequest
from eval.mtbench.items import Ask
from eval.mtbench.tokens import counter_for, most_prompt_tokens, prompt_tokens

__all__ = ["Cost", "Price", "estimate", "price_of", "worst_case"]

_PRICES = Path(__file__).with_name("prices.json")
_MILLION = 1e6
# OpenAI's Batch API asks half the price (platform.openai.com/docs/guides/batch).
_BATCH_SHARE = 0.5
# Mean length of GPT-4's 960 published single-answer verdicts on MT-Bench, in cl100k_base tokens (median 121).
_USUAL_VERDICT_TOKENS = 163
_DATED = re.compile(r"-(\d{4}|\d{4}-\d{2}-\d{2})$")


@dataclass(frozen=True, kw_only=True)
class Price:
    """USD per million tokens. ValueError where a price or its date is none."""

    model: str
    input_usd: float
    output_usd: float
    date: str
    """When the price stood, ISO 8601."""
    source: str
    """URL."""

    def __post_init__(self) -> None:
        for value in (self.input_usd, self.output_usd):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ValueError(f"{self.model}: input_usd and output_usd must be numbers from 0, got {value!r:.40}")
        date.fromisoformat(self.date)

    def usd(self, prompt_tokens: float, completion_tokens: float, *, batch: bool = False) -> float:
        """Dollars for so many tokens."""
        full = (prompt_tokens * self.input_usd + completion_tokens * self.output_usd) / _MILLION
        return full * _BATCH_SHARE if batch else full


@dataclass(frozen=True, kw_only=True)
class Cost:
    """An estimate. ``low_usd`` and ``high_usd`` are None where the price is not known."""

    calls: int
    prompt_tokens: int
    counted_by: str
    """The encoding, or how it was approximated and how far that may be off."""
    low_usd: float | None
    """Verdicts as long as GPT-4's are on average."""
    high_usd: float | None
    """Every verdict as long as ``max_tokens`` lets it, every prompt as far underestimated as any was."""
    price: Price | None
    batch: bool
    """At the Batch API's half price."""


def price_of(judge: str, prices: Path = _PRICES) -> Price | None:
    """The price of a model, or of the model it is a dated snapshot of; None where it is not known.

    ``prices``: a file in the schema of the default, ``prices.json``. Raises BadRequest where it cannot be read.
    """
    try:
        entries = json.loads(prices.read_bytes())
        if not isinstance(entries, list):
            raise ValueError(f"a list expected, got {type(entries).__name__}")
        known = {price.model: price for price in (Price(**entry) for entry in entries)}
    except (OSError, ValueError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadRequest(
            f"cannot read prices in {str(prices)!r} ({reason}): a JSON list of objects with model, input_usd, "
            f"output_usd (per million tokens), date and source is needed"
        ) from error
    return known.get(judge) or known.get(_DATED.sub("", judge))


def estimate(asks: Sequence[Ask], *, price: Price | None, batch: bool = False) -> Cost:
    """What asking all of ``asks`` would cost; leave out those that are in the cache. Asks nobody: works offline."""
    counter = counter_for(asks[0].judge if asks else "")
    prompts = prompt_tokens(asks, counter)
    most_completion = sum(worst_case(ask)[1] for ask in asks)
    low = high = None
    if price is not None:
        usual = min(_USUAL_VERDICT_TOKENS * len(asks), most_completion)
        low = price.usd(prompts, usual, batch=batch)
        high = price.usd(prompts * counter.most_under, most_completion, batch=batch)
    return Cost(
        calls=len(asks),
        prompt_tokens=prompts,
        counted_by=counter.name,
        low_usd=low,
        high_usd=high,
        price=price,
        batch=batch,
    )


def worst_case(ask: Ask) -> tuple[int, int]:
    """The most tokens that its prompt and its verdict can have. ValueError where the ask sets its verdict no limit."""
    limit = ask.parameters.get("max_tokens", ask.parameters.get("max_completion_tokens"))
    if not isinstance(limit, int):
        raise ValueError(f"the ask {ask.key} has no max_tokens: its cost has no bound")
    return most_prompt_tokens(ask), limit * int(ask.parameters.get("n", 1))
