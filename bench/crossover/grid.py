"""The cells of the grid: layer shapes x shares of active rows x kept entries, and the words they are asked for in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from bench.errors import BadRequest
from bench.request import DTYPES, parse_kept
from sparsegrad import SparseGradError
from sparsegrad.support import resolve_kept

__all__ = ["Cell", "grid"]

# Active rows come as padded text does: the first ones of each sequence.
SEQUENCE = 128


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One layer, its batch and its sparsity."""

    out: int
    inner: int
    tokens: int
    """Rows of x and g, padding included; a multiple of 128."""
    active: float
    """Share of the rows of g that are not zero."""
    kept: int
    """Entries of the rotated gradient that live."""
    decay: float
    """Exponent of the spectra: the i-th singular direction of x and of g has size i^-decay."""
    dtype: str
    device: str
    seed: int
    rounds: int
    steps: int
    """Train steps a turn."""
    warmup: int

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.out}x{self.inner}, {100 * self.active:.6g}% of rows active, {self.kept:,} entries kept"

    @property
    def active_rows(self) -> int:
        """Of each sequence."""
        return round(self.active * SEQUENCE)

    def config(self) -> dict[str, Any]:
        """JSON types, for a record."""
        return asdict(self)

    def step_flops(self) -> float:
        """Operations of one step of every way, roughly: dense, and five that rotate twice and back."""
        plain = 6.0 * self.tokens * self.out * self.inner
        rotations = 6.0 * self.tokens * (self.out**2 + self.inner**2)
        return 2 * plain + 6 * (plain + rotations)


def grid(
    shapes: Sequence[str],
    active: Sequence[str],
    kept: Sequence[str],
    **common: Any,
) -> list[Cell]:
    """Every combination, in the order given; BadRequest where a word is none, or does not fit its shape.

    ``common``: the other fields of every cell.
    """
    tokens, decay = common["tokens"], common["decay"]
    if tokens < SEQUENCE or tokens % SEQUENCE:
        raise BadRequest(f"--tokens {tokens} is no multiple of {SEQUENCE}, the length of a sequence; give 1024 or so")
    if not 0 <= decay <= 4:
        raise BadRequest(f"--decay {decay:g} is out of range; give 0 (flat) to 4")
    if common["dtype"] not in DTYPES:
        raise BadRequest(f"--dtype {common['dtype']!r} is not known; give {' or '.join(DTYPES)}")
    cells = []
    for (out, inner), share, word in product(map(_shape, shapes), map(_share, active), kept):
        try:
            count = resolve_kept(parse_kept(word, "--kept-list"), out * inner, layer=f"a {out}x{inner} layer")
        except SparseGradError as error:
            raise BadRequest(f"--kept-list {word}: {error}") from None
        cells.append(Cell(out=out, inner=inner, active=share, kept=count, **common))
    return list(dict.fromkeys(cells))


def _shape(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", text)
    if found is None:
        raise BadRequest(f"--shapes {text!r} is no layer; give OUTxIN, such as 3072x768")
    return int(found[1]), int(found[2])


def _share(text: str) -> float:
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = float("nan")
    if not 0 < share <= 1:
        raise BadRequest(f"--active {text!r} is no share of the rows; give one above 0 and up to 1, or 25%")
    if round(share * SEQUENCE) < 1:
        raise BadRequest(f"--active {text!r} is less than a row of {SEQUENCE}; give {1 / SEQUENCE:.4f} or more")
    return share
