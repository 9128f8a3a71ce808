"""Quality against cost: who is beaten by nobody, ties counted as ties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.plotting import house_style
from reports.document import Cell, Column, Figure
from reports.figures import marks
from reports.figures.marks import Axis, Estimate

__all__ = ["Point", "pareto", "unbeaten"]

_FREE = "one answer given to all"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One method: what it costs and what it reaches."""

    name: str
    cost: Estimate
    """Lower is better."""
    quality: Estimate
    """Higher is better."""
    idle: bool = False
    """Not above one answer given to every item: it is beaten by that, which is free, and beats nobody."""


def unbeaten(points: Sequence[Point]) -> list[bool]:
    """For each point, whether no other beats it.

    One beats another that is surely better in cost or quality (their intervals do not meet) and not surely worse in
    the other. So of two that tie in quality the surely cheaper one wins, and two that tie in both both stay. Ties are
    not transitive: in a ring of overlapping intervals, which is rare, each is beaten by another.
    """
    return [not by for by in _beaten_by(points)]


def _beaten_by(points: Sequence[Point]) -> list[list[str]]:
    return [
        [
            *([_FREE] if point.idle else []),
            *(other.name for other in points if other is not point and not other.idle and _beats(other, point)),
        ]
        for point in points
    ]


def _beats(one: Point, other: Point) -> bool:
    cheaper, dearer = _below(one.cost, other.cost), _below(other.cost, one.cost)
    better, worse = _below(other.quality, one.quality), _below(one.quality, other.quality)
    return (cheaper and not worse) or (better and not dearer)


def _below(one: Estimate, other: Estimate) -> bool:
    return one.ends[1] < other.ends[0]


def pareto(id: str, title: str, points: Sequence[Point], *, cost: Axis, quality: Axis) -> Figure:
    """Both with their intervals; filled where unbeaten, hollow and grey where another method beats it.

    Raises ValueError where there is no point, or a value on a logarithmic axis is not above 0.
    """
    if not points:
        raise ValueError(f"figure {id}: nothing to draw")
    marks.check_scale(cost, (point.cost.value for point in points))
    marks.check_scale(quality, (point.quality.value for point in points))
    best = unbeaten(points)
    idle = any(point.idle for point in points)
    across = marks.limits((end for point in points for end in (point.cost.value, *point.cost.ends)), log=cost.log)
    upward = marks.limits(
        (end for point in points for end in (point.quality.value, *point.quality.ends)), log=quality.log
    )
    with house_style() as style:
        axes = marks.plot(style, height=max(2.6, 0.2 * len(points)))
        marks.place_on(axes, "x", cost, across)
        marks.place_on(axes, "y", quality, upward)
        for point, stays in zip(points, best, strict=True):
            colour = marks.SURE if stays else marks.UNSURE
            axes.errorbar(
                [point.cost.value],
                [point.quality.value],
                xerr=marks.whiskers([point.cost], across),
                yerr=marks.whiskers([point.quality], upward),
                color=colour,
                marker="o",
                markersize=6,
                markerfacecolor=colour if stays else "#ffffff",
                elinewidth=1.2,
                alpha=1.0 if stays else 0.8,
            )
        _names_at_the_side(axes, points)
        columns = (
            Column(name="method"),
            Column(name=cost.name, unit=cost.unit, numeric=True),
            Column(name=quality.name, unit=quality.unit, numeric=True),
            Column(name="beaten by"),
        )
        return marks.finished(
            axes.figure,
            id=id,
            title=title,
            alt=_alt(points, best, cost, quality),
            columns=columns,
            rows=(
                (marks.name_cell(point.name), marks.data_cell(point.cost), marks.data_cell(point.quality), _beaten(by))
                for point, by in zip(points, _beaten_by(points), strict=True)
            ),
            notes=(
                "Filled: no other method is surely better in one of the two and not surely worse in the other; "
                "intervals that meet are a tie.",
                *([f"What is not above {_FREE}, which costs nothing, beats no method."] if idle else []),
            ),
        )


def _beaten(by: list[str]) -> Cell:
    return Cell(text=", ".join(by) or "none", sort=", ".join(by))


def _names_at_the_side(axes: Any, points: Sequence[Point]) -> None:
    """Names right of the axes in the points' order, each joined to its point: however close they lie, none covers."""
    order = sorted(range(len(points)), key=lambda place: (points[place].quality.value, -points[place].cost.value))
    heights = _apart([_share(axes, points[place].quality.value) for place in order])
    for place, height in zip(order, heights, strict=True):
        point = points[place]
        axes.annotate(
            marks.drawable(point.name),
            xy=(point.cost.value, point.quality.value),
            xytext=(1.04, height),
            textcoords="axes fraction",
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": marks.UNSURE, "lw": 0.5, "alpha": 0.6, "shrinkA": 1, "shrinkB": 5},
        )


def _share(axes: Any, value: float) -> float:
    """How far up the axis, 0 to 1."""
    return float(axes.transAxes.inverted().transform(axes.transData.transform((axes.get_xlim()[0], value)))[1])


def _apart(heights: Sequence[float]) -> list[float]:
    """Ascending heights moved up by as little as keeps a line's distance, then down again from the top."""
    gap = min(0.075, 1 / max(1, len(heights) - 1))
    spread = list(heights)
    for place in range(1, len(spread)):
        spread[place] = max(spread[place], spread[place - 1] + gap)
    ceiling = 1.0
    for place in reversed(range(len(spread))):
        spread[place] = min(spread[place], ceiling)
        ceiling = spread[place] - gap
    return spread


def _alt(points: Sequence[Point], best: Sequence[bool], cost: Axis, quality: Axis) -> str:
    told = "; ".join(
        f"{point.name}: {marks.data_cell(point.cost).text} and {marks.data_cell(point.quality).text}"
        + ("" if stays else ", beaten")
        for point, stays in zip(points, best, strict=True)
    )
    return f"{quality.name} against {cost.name}, a dot a method with 95% intervals. {told}."
