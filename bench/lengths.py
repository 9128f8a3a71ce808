"""How long synthetic sequences are: a distribution that is stated, parsed and recorded in the same words."""

import math
from dataclasses import dataclass
from typing import Literal

import torch

from bench.errors import BadRequest

__all__ = ["DEFAULT_LENGTHS", "LengthLaw"]

_FORM = "lognormal:MEDIAN:SIGMA (such as lognormal:10.7:0.33) or fixed:N (such as fixed:64)"
_SHORTEST = 3  # a first token, one word, a last token


@dataclass(frozen=True, kw_only=True)
class LengthLaw:
    """Tokens a sequence, special tokens included.

    The defaults are the maximum-likelihood lognormal of CoLA's 8,551 training sentences under the MiniLM
    (BERT uncased WordPiece) tokenizer: exp(mean log length) = 10.70, sd of log length = 0.332, shortest 4.
    Its mean of 11.3 tokens is the data's mean (11.33).
    """

    kind: Literal["lognormal", "fixed"] = "lognormal"
    median_tokens: float = 10.7
    """For fixed, the length itself."""
    sigma: float = 0.33
    """Standard deviation of the natural logarithm of the length; 0 for fixed."""
    low: int = 4
    """Shortest sequence of the lognormal; the longest is the run's max_length."""

    def __post_init__(self) -> None:
        if self.kind not in ("lognormal", "fixed"):
            raise BadRequest(f"--lengths {self.kind!r} is no distribution; give {_FORM}")
        if not (math.isfinite(self.median_tokens) and self.median_tokens >= _SHORTEST):
            given = f"{self.kind}:{self.median_tokens:g}"
            raise BadRequest(f"--lengths {given} is below {_SHORTEST} tokens; give {_FORM}")
        if not (math.isfinite(self.sigma) and 0 <= self.sigma <= 3):
            raise BadRequest(f"--lengths sigma {self.sigma:g} is not from 0 to 3; give {_FORM}")
        if self.low < _SHORTEST:
            raise BadRequest(f"the shortest length {self.low} is below {_SHORTEST} tokens")

    @classmethod
    def parse(cls, text: str) -> "LengthLaw":
        """The law that `--lengths TEXT` names; BadRequest with the two forms otherwise."""
        kind, *numbers = text.split(":")
        unclear = BadRequest(f"--lengths {text!r} is not understood; give {_FORM}")
        try:
            values = [float(number) if kind == "lognormal" else int(number) for number in numbers]
        except ValueError:
            raise unclear from None
        if kind == "lognormal" and len(values) == 2:
            return cls(median_tokens=values[0], sigma=values[1])
        if kind == "fixed" and len(values) == 1:
            return cls(kind="fixed", median_tokens=values[0], sigma=0.0)
        raise unclear

    def __str__(self) -> str:
        """The same words that `parse` reads."""
        tail = f":{self.sigma:g}" if self.kind == "lognormal" else ""
        return f"{self.kind}:{self.median_tokens:g}{tail}"

    def draw(self, count: int, *, max_length: int, generator: torch.Generator) -> list[int]:
        """`count` lengths in tokens: N for fixed, else between `low` and `max_length`."""
        if self.kind == "fixed":
            if self.median_tokens > max_length:
                raise BadRequest(
                    f"--lengths {self} is longer than --max-length {max_length}; "
                    f"give --max-length {self.median_tokens:g} or more"
                )
            return [int(self.median_tokens)] * count
        log_n = torch.randn(count, generator=generator, dtype=torch.float64) * self.sigma
        lengths = (log_n.exp() * self.median_tokens).round().clamp(self.low, max_length)
        return [int(length) for length in lengths]


DEFAULT_LENGTHS = LengthLaw()
