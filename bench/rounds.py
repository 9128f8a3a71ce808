"""How long a comparison is timed: its words, the same for every command that takes turns, and what they may be."""

from __future__ import annotations

import argparse
from typing import Any

from bench.drift import add_drift_words
from bench.errors import BadRequest

__all__ = ["add_round_words", "rounds_of"]

_COUNTS = ("rounds", "steps", "warmup")


def add_round_words(parser: Any, *, rounds: int, steps: int, warmup: int, turn: str = "steps a turn") -> None:
    """``--rounds``, ``--steps``, ``--warmup`` with these defaults, and ``--drift``, as a group of their own.

    ``turn``: what ``--steps`` counts.
    """
    group = parser.add_argument_group("measuring")
    said = {"rounds": "interleaved rounds", "steps": turn, "warmup": "untimed steps first"}
    for name, default in zip(_COUNTS, (rounds, steps, warmup), strict=True):
        group.add_argument(
            f"--{name}", type=int, default=default, metavar="N", help=f"{said[name]} (default: %(default)s)"
        )
    add_drift_words(group)


def rounds_of(args: argparse.Namespace) -> dict[str, int]:
    """The three counts; BadRequest for one below 1."""
    told = {name: int(getattr(args, name)) for name in _COUNTS}
    for name, count in told.items():
        if count < 1:
            raise BadRequest(f"--{name} {count} is too small; give 1 or more")
    return told
