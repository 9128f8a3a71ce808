"""What all drawings share: values with intervals, axes with units, names that the font can draw, one finish."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

from bench.plotting import figure_bytes
from bench.stats import RatioInterval
from eval.mtbench.hostile import one_line
from reports.document import Cell, CellStatus, Column, Figure, Table

__all__ = [
    "SURE",
    "UNSURE",
    "Axis",
    "Estimate",
    "check_scale",
    "data_cell",
    "drawable",
    "finished",
    "limits",
    "name_cell",
    "place_on",
    "plot",
    "whiskers",
]

_WIDTH = 3.5
"""Inches between the axes: with names beside it a phone shows a drawing at four fifths, and 9 points can be read."""
_LONGEST_NAME, _LONGEST_LINE = 34, 70
# Below this ratio of an axis's ends, powers of ten are too few to read a logarithmic axis by.
_NARROW = 30
SURE, UNSURE = "#0072B2", "#767676"
"""A difference that is told, and one that is not: the first colour of the house, and a grey for both themes."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with its 95% CI; an end is None where too few samples leave it open, or where none was taken.

    Raises ValueError where the value is not finite or lies outside its interval.
    """

    value: float
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        low, high = (-math.inf if self.low is None else self.low), (math.inf if self.high is None else self.high)
        if not math.isfinite(self.value) or not low <= self.value <= high:
            raise ValueError(f"{self.value} is no estimate inside [{self.low}, {self.high}]")

    @classmethod
    def of(cls, ratio: RatioInterval) -> Self:
        """The same of a ratio, whose upper end too few rounds leave infinite."""
        return cls(value=ratio.mean, low=ratio.low, high=ratio.high if math.isfinite(ratio.high) else None)

    @property
    def ends(self) -> tuple[float, float]:
        """The interval as it is compared: without a CI the value stands for itself, an open end is infinite."""
        if self.low is None and self.high is None:
            return self.value, self.value
        return (-math.inf if self.low is None else self.low), (math.inf if self.high is None else self.high)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What is measured along it."""

    name: str
    unit: str | None = None
    log: bool = False
    higher_is_better: bool | None = None
    note: str | None = None
    """What belongs to the label: ``95% CI, n = 10 paired rounds``."""

    @property
    def label(self) -> str:
        """``peak memory (MiB), lower is better``, and the note below."""
        told = self.name if self.unit is None else f"{self.name} ({self.unit})"
        if self.higher_is_better is not None:
            told += f", {'higher' if self.higher_is_better else 'lower'} is better"
        return "\n".join(drawable(line, _LONGEST_LINE) for line in (told, self.note) if line)


def drawable(name: str, longest: int = _LONGEST_NAME) -> str:
    """A name on one line, cut at ``longest`` characters, with U+FFFD for what the drawings' font has no shape for."""
    shown = one_line(name, longest) or "(no name)"
    return "".join(character if ord(character) in _glyphs() else "\N{REPLACEMENT CHARACTER}" for character in shown)


@cache
def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(findfont("DejaVu Sans"))).get_charmap())


def limits(values: Iterable[float], *, log: bool = False, share: float = 0.08) -> tuple[float, float]:
    """An axis's ends with air around the finite values (above 0 where ``log``); equal values get a span of their own.

    ``share``: of the span, left free at each end.
    """
    told = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    scaled = [math.log(value) for value in told] if log else told
    low, high = min(scaled), max(scaled)
    span = (high - low) or (0.2 if log else abs(high) * 0.2) or 1.0
    low, high = low - share * span, high + share * span
    return (math.exp(low), math.exp(high)) if log else (low, high)


def check_scale(axis: Axis, values: Iterable[float]) -> None:
    """ValueError for a value that has no place on a logarithmic axis."""
    if axis.log and (least := min(values)) <= 0:
        raise ValueError(f"{axis.name}: {least:g} has no place on a logarithmic axis")


def plot(style: Any, *, height: float) -> Any:
    """Axes ``height`` inches high, in a figure of their own. They are all of the figure: saving cuts it around what
    stands outside them, so that names of any length have room and none shrinks the axes."""
    return style.Figure(figsize=(_WIDTH, height)).add_axes((0, 0, 1, 1))


def place_on(axes: Any, direction: str, axis: Axis, ends: tuple[float, float]) -> None:
    """Scale, ends, ticks in plain figures and label of one of matplotlib's axes; ``direction``: x or y."""
    from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator, StrMethodFormatter

    own = getattr(axes, f"{direction}axis")
    if axis.log:
        getattr(axes, f"set_{direction}scale")("log")
        if ends[1] / ends[0] < _NARROW:
            own.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
            own.set_minor_locator(NullLocator())
        own.set_minor_formatter(NullFormatter())
        own.set_major_formatter(StrMethodFormatter("{x:,g}"))
    getattr(axes, f"set_{direction}lim")(ends)
    getattr(axes, f"set_{direction}label")(axis.label)


def whiskers(estimates: Sequence[Estimate], ends: tuple[float, float]) -> list[list[float]]:
    """Distances below and above, as matplotlib's error bars take them; an open end reaches the end of the axis."""
    below = [one.value - max(one.ends[0], ends[0]) for one in estimates]
    above = [min(one.ends[1], ends[1]) - one.value for one in estimates]
    return [[max(0.0, gap) for gap in below], [max(0.0, gap) for gap in above]]


def name_cell(name: str) -> Cell:
    """A name as a cell of the table behind a drawing."""
    return Cell(text=name, sort=name)


def data_cell(estimate: Estimate | None, *, tied: bool = False) -> Cell:
    """The estimate as a cell of the table behind a drawing."""
    if estimate is None:
        return Cell(text="", status=CellStatus.NOT_MEASURED)
    interval = None
    if estimate.low is not None or estimate.high is not None:
        interval = f"[{estimate.ends[0]:.4g}, {estimate.ends[1]:.4g}]"
    status = CellStatus.NOISE if tied else CellStatus.OK
    return Cell(text=f"{estimate.value:.4g}", sort=estimate.value, interval=interval, status=status)


def finished(
    drawing: Any,
    *,
    id: str,
    title: str,
    alt: str,
    columns: tuple[Column, ...],
    rows: Iterable[tuple[Cell, ...]],
    notes: tuple[str, ...] = (),
    wide: bool = False,
) -> Figure:
    """The matplotlib figure as a Figure of the report: SVG, description and data."""
    data = Table(id=f"{id}-data", title=f"{title}: the data", columns=columns, rows=tuple(rows))
    return Figure(id=id, title=title, svg=figure_bytes(drawing, "svg"), alt=alt, data=data, notes=notes, wide=wide)
