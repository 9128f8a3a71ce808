"""A memory budget in the words people use: 24GiB, 512MiB, 80GB."""

from __future__ import annotations

import re

from bench.errors import BadRequest

__all__ = ["parse_budget"]

_UNITS = {"": 1, **{f"{letter}i": 2 ** (10 * n) for n, letter in enumerate("KMGT", 1)}}
_UNITS |= {letter: 10 ** (3 * n) for n, letter in enumerate("KMGT", 1)}


def parse_budget(text: str) -> int:
    """Bytes; BadRequest for what is no size above 0. GiB is 2**30 bytes, GB 10**9."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?i?)B", text.strip(), flags=re.IGNORECASE)
    unit = found and next((size for name, size in _UNITS.items() if name.lower() == found[2].lower()), None)
    if not found or not unit or not (nbytes := round(float(found[1]) * unit)):
        raise BadRequest(f"--budget {text!r} is no size in memory; give one such as 24GiB, 512MiB or 80GB")
    return nbytes
