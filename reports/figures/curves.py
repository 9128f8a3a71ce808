"""Lines over a swept quantity: quality over sparsity, energy over the share of entries kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.plotting import COLOURS, house_style
from reports.document import Column, Figure
from reports.figures import marks
from reports.figures.marks import Axis, Estimate

__all__ = ["Line", "curves"]

# Lines are told apart by dashes and markers as well as by colour.
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.4)), (0, (5, 1.5, 1, 1.5)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DENSE = 25
"""Points beyond which markers would run into each other."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One series; ValueError where it is empty or its points do not pair."""

    name: str
    at: tuple[float, ...]
    """Positions along the horizontal axis, ascending."""
    values: tuple[Estimate, ...]

    def __post_init__(self) -> None:
        if len(self.at) != len(self.values) or not self.at:
            raise ValueError(f"line {self.name!r:.60}: {len(self.at)} places and {len(self.values)} values")
        if list(self.at) != sorted(self.at):
            raise ValueError(f"line {self.name!r:.60}: places do not ascend")


def curves(id: str, title: str, lines: Sequence[Line], *, across: Axis, upward: Axis) -> Figure:
    """Every line with its interval as a veil.

    Raises ValueError where there is no line, or a value on a logarithmic axis is not above 0.
    """
    if not lines:
        raise ValueError(f"figure {id}: nothing to draw")
    marks.check_scale(across, (place for line in lines for place in line.at))
    marks.check_scale(upward, (value.value for line in lines for value in line.values))
    wide = marks.limits((place for line in lines for place in line.at), log=across.log, share=0.03)
    high = marks.limits(
        (end for line in lines for one in line.values for end in (one.value, *one.ends)), log=upward.log
    )
    with house_style() as style:
        axes = marks.plot(style, height=2.6)
        marks.place_on(axes, "x", across, wide)
        marks.place_on(axes, "y", upward, high)
        for number, line in enumerate(lines):
            _draw(axes, line, number, high)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.01), ncols=2, frameon=False, fontsize=8, handlelength=2.6)
        columns = (
            Column(name="line"),
            Column(name=across.name, unit=across.unit, numeric=True),
            Column(name=upward.name, unit=upward.unit, numeric=True),
        )
        return marks.finished(
            axes.figure,
            id=id,
            title=title,
            alt=_alt(lines, across, upward),
            columns=columns,
            rows=(
                (marks.name_cell(line.name), marks.data_cell(Estimate(value=place)), marks.data_cell(value))
                for line in lines
                for place, value in zip(line.at, line.values, strict=True)
            ),
        )


def _draw(axes: Any, line: Line, number: int, ends: tuple[float, float]) -> None:
    colour = COLOURS[number % len(COLOURS)]
    axes.plot(
        line.at,
        [one.value for one in line.values],
        color=colour,
        linestyle=_DASHES[number % len(_DASHES)],
        marker=_MARKERS[number % len(_MARKERS)] if len(line.at) <= _DENSE else None,
        markersize=4.5,
        linewidth=1.6,
        label=marks.drawable(line.name),
    )
    if any(one.low is not None or one.high is not None for one in line.values):
        lows = [max(one.ends[0], ends[0]) for one in line.values]
        highs = [min(one.ends[1], ends[1]) for one in line.values]
        axes.fill_between(line.at, lows, highs, color=colour, alpha=0.15, linewidth=0)


def _alt(lines: Sequence[Line], across: Axis, upward: Axis) -> str:
    told = "; ".join(
        f"{line.name} goes from {line.values[0].value:.4g} at {line.at[0]:.4g} to {line.values[-1].value:.4g} "
        f"at {line.at[-1]:.4g}"
        for line in lines
    )
    return f"{upward.name} over {across.name}. {told}."
