"""A record's result, read field by field: each value has the type that was asked for, or the record is unreadable."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eval.mtbench.hostile import well_formed

__all__ = ["Fields", "Unreadable"]

# No second, byte or parameter of any run comes near; a number beyond it is damage, and its square would overflow.
_LARGEST = 1e18


class Unreadable(ValueError):
    """A record whose result has not the shape that its kind has; the text says where and how."""


@dataclass(frozen=True)
class Fields:
    """One JSON object and its place in the record; every reader raises Unreadable for another type than its own.

    Names that end in ``_or_none`` take a missing field and null for not measured.
    """

    told: Mapping[str, Any]
    place: str = "result"

    @classmethod
    def of(cls, value: object, place: str = "result") -> Fields:
        """The object as fields."""
        if not isinstance(value, dict):
            raise Unreadable(f"{place}: an object expected, got {_shown(value)}")
        return cls(value, place)

    def number(self, name: str) -> float:
        """A finite number of a size that was measured."""
        return _number(self._there(name), f"{self.place}.{name}")

    def number_or_none(self, name: str) -> float | None:
        """The same, or None."""
        return None if self.told.get(name) is None else self.number(name)

    def at_least(self, name: str, least: float) -> float:
        """A number no smaller than that."""
        if (value := self.number(name)) < least:
            raise Unreadable(f"{self.place}.{name}: {least:g} or more expected, got {value:g}")
        return value

    def count_or_none(self, name: str) -> int | None:
        """A whole number, 0 or more; or None."""
        if (value := self.number_or_none(name)) is None:
            return None
        if value < 0 or value != int(value):
            raise Unreadable(f"{self.place}.{name}: a whole number expected, got {value:g}")
        return int(value)

    def text(self, name: str) -> str:
        """A string without half surrogate pairs, which no file could hold."""
        value = self._there(name)
        if not isinstance(value, str):
            raise Unreadable(f"{self.place}.{name}: a string expected, got {_shown(value)}")
        return well_formed(value)

    def text_or_none(self, name: str) -> str | None:
        """The same, or None."""
        return None if self.told.get(name) is None else self.text(name)

    def inside(self, name: str) -> Fields:
        """The object in that field."""
        return Fields.of(self._there(name), f"{self.place}.{name}")

    def inside_or_none(self, name: str) -> Fields | None:
        """The same, or None."""
        return None if self.told.get(name) is None else self.inside(name)

    def each(self, name: str) -> list[Fields]:
        """The list of objects in that field; an absent one is empty."""
        return [Fields.of(item, f"{self.place}.{name}[{at}]") for at, item in enumerate(self._list(name))]

    def numbers(self, name: str) -> tuple[float, ...]:
        """The list of numbers in that field; an absent one is empty."""
        return tuple(_number(item, f"{self.place}.{name}[{at}]") for at, item in enumerate(self._list(name)))

    def texts(self, name: str) -> tuple[str, ...]:
        """The list of strings in that field; an absent one is empty."""
        items = self._list(name)
        if not all(isinstance(item, str) for item in items):
            raise Unreadable(f"{self.place}.{name}: strings expected")
        return tuple(map(well_formed, items))

    def table(self, name: str) -> dict[str, float]:
        """The object of numbers in that field; an absent one is empty, and what is not measured is left out."""
        found = self.inside_or_none(name)
        if found is None:
            return {}
        return {well_formed(key): found.number(key) for key, value in found.told.items() if value is not None}

    def _there(self, name: str) -> Any:
        if name not in self.told:
            raise Unreadable(f"{self.place}.{name}: missing")
        return self.told[name]

    def _list(self, name: str) -> list[Any]:
        value = self.told.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise Unreadable(f"{self.place}.{name}: a list expected, got {_shown(value)}")
        return value


def _number(value: object, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unreadable(f"{place}: a number expected, got {_shown(value)}")
    if not -_LARGEST <= value <= _LARGEST or not math.isfinite(value):
        raise Unreadable(f"{place}: a number beyond {_LARGEST:g}, which nothing measures")
    return float(value)


def _shown(value: object) -> str:
    return well_formed(f"{type(value).__name__} {value!r:.40}") if value is not None else "null"
