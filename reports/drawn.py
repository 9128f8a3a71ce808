"""What a record cannot be drawn as is a line in the drawing's place, and the rest of the report stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec

from reports.document import Block, Prose
from reports.figures.marks import drawable
from reports.reading.fields import Unreadable

__all__ = ["or_a_line", "with_drawable_names"]

P = ParamSpec("P")
_LONGEST = 200
"""Characters of a name: those of linears must stay apart."""


def or_a_line(draw: Callable[P, Sequence[Block]]) -> Callable[P, list[Block]]:
    """What ``draw`` makes, or why there is none."""

    @wraps(draw)
    def drawn(*args: P.args, **words: P.kwargs) -> list[Block]:
        try:
            return [*draw(*args, **words)]
        except Unreadable as error:
            return [Prose(text=f"Not shown: {error}", warning=True)]
        except Exception as error:  # whatever a damaged record makes a drawing trip over
            return [Prose(text=f"Not shown: {type(error).__name__}: {error}", warning=True)]

    return drawn


def with_drawable_names(value: Any) -> Any:
    """A result or request with every string inside on one line, in shapes that the drawings' font has."""
    if isinstance(value, str):
        return drawable(value, _LONGEST)
    if isinstance(value, list):
        return [with_drawable_names(item) for item in value]
    if isinstance(value, dict):
        return {name: with_drawable_names(item) for name, item in value.items()}
    return value
