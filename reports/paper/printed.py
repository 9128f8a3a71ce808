"""A value as the paper prints it, with how surely it was read: an uncertain reading can carry no verdict."""

from __future__ import annotations

from dataclasses import dataclass

from reports.document import Certainty

__all__ = ["Printed", "certain", "disagree", "elsewhere", "uncertain"]


@dataclass(frozen=True, kw_only=True)
class Printed:
    """One value: every reading of it that is left, the likelier first; none where it is uncertain."""

    values: tuple[float, ...]
    certainty: Certainty

    @property
    def value(self) -> float | None:
        """The likelier reading; None where no verdict may rest on it."""
        return self.values[0] if self.values else None

    def span(self) -> tuple[float, float] | None:
        """Lowest and highest reading; None where uncertain."""
        return (min(self.values), max(self.values)) if self.values else None

    def told(self, form: str = "g") -> str:
        """``82.6 (also read: 82)``; ``0.1 (elsewhere: 1)``; ``uncertain``."""
        if not self.values:
            return "uncertain"
        first, *rest = (f"{value:{form}}" for value in self.values)
        other = "elsewhere" if self.certainty is Certainty.PLACES_DISAGREE else "also read"
        return first if not rest else f"{first} ({other}: {', '.join(rest)})"


def certain(value: float) -> Printed:
    """Both scans and the text agree."""
    return Printed(values=(value,), certainty=Certainty.CERTAIN)


def disagree(*values: float) -> Printed:
    """The scans differ: the likelier reading first."""
    return Printed(values=values, certainty=Certainty.SCANS_DISAGREE)


def elsewhere(*values: float) -> Printed:
    """Read alike in both scans, but the paper says otherwise in another place: what the claim rests on first."""
    return Printed(values=values, certainty=Certainty.PLACES_DISAGREE)


def uncertain() -> Printed:
    """Garbled: no reading is to be trusted."""
    return Printed(values=(), certainty=Certainty.UNCERTAIN)
