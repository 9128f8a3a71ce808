"""Several axes side by side over the same names: a line a method, a panel a quantity, a colour and mark a series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.plotting import COLOURS, house_style
from reports.document import Cell, Column, Figure
from reports.figures import marks
from reports.figures.marks import Axis, Estimate

__all__ = ["Panel", "panels"]

_MARKS = ("o", "s", "D", "^", "v")
_GAP = 0.12
"""Between panels, of a panel's width."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One quantity of every name."""

    title: str
    axis: Axis
    at: float
    """The reference's value, drawn as a line."""
    series: Mapping[str, Mapping[str, Estimate]]
    """Series -> name -> estimate; a name that was not measured is absent."""
    tied: frozenset[tuple[str, str]] = frozenset()
    """(series, name) that is not told apart from the reference: drawn hollow."""


def panels(
    id: str, title: str, names: Sequence[str], told: Sequence[Panel], *, width: float, notes: tuple[str, ...] = ()
) -> Figure:
    """The drawing, each panel ``width`` inches wide, and its data. Raises ValueError where there is nothing to draw."""
    if not names or not any(own for panel in told for own in panel.series.values()):
        raise ValueError(f"figure {id}: nothing to draw")
    series = list(dict.fromkeys(name for panel in told for name in panel.series))
    with house_style() as style:
        drawing = style.Figure(figsize=(width, 0.1 + 0.3 * len(names)))
        for place, panel in enumerate(told):
            axes = drawing.add_axes((place * (1 + _GAP), 0, 1, 1))
            _draw(axes, panel, names, series)
            axes.set_yticks(range(len(names)), [marks.drawable(name) for name in names] if place == 0 else [])
        if len(series) > 1:
            drawing.axes[0].legend(loc="lower left", bbox_to_anchor=(0, 1.06), ncols=len(series), frameon=False,
                                   borderaxespad=0, handletextpad=0.3)  # fmt: skip
        return marks.finished(
            drawing,
            id=id,
            title=title,
            alt=_alt(names, told),
            columns=(Column(name="method"), *(_column(panel, one) for panel in told for one in panel.series)),
            rows=(_row(name, told) for name in names),
            notes=notes,
            wide=True,
        )


def _draw(axes: Any, panel: Panel, names: Sequence[str], series: Sequence[str]) -> None:
    everything = [one for own in panel.series.values() for one in own.values()]
    marks.check_scale(panel.axis, (one.value for one in everything))
    ends = marks.limits([panel.at, *(end for one in everything for end in (one.value, *one.ends))], log=panel.axis.log)
    marks.place_on(axes, "x", panel.axis, ends)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.axvline(panel.at, color="#000000", linewidth=0.8)
    axes.set_title(marks.drawable(panel.title), fontsize=9, loc="left", fontweight="bold")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    for own in panel.series:
        number = series.index(own)
        shift = 0.22 * (number - (len(series) - 1) / 2)  # series of one name stand below each other
        colour = COLOURS[number % len(COLOURS)]
        shown = [(row, panel.series[own][name], (own, name) in panel.tied)
                 for row, name in enumerate(names) if name in panel.series[own]]  # fmt: skip
        for row, one, tied in shown:
            axes.errorbar([one.value], [row + shift], xerr=marks.whiskers([one], ends), color=colour,
                          marker=_MARKS[number % len(_MARKS)], markersize=4.5,
                          markerfacecolor="#ffffff" if tied else colour, elinewidth=1.4, capsize=2)  # fmt: skip
        axes.plot([], [], color=colour, marker=_MARKS[number % len(_MARKS)], markersize=4.5, linestyle="",
                  label=marks.drawable(own))  # fmt: skip


def _column(panel: Panel, series: str) -> Column:
    name = panel.title if len(panel.series) == 1 else f"{panel.title}, {series}"
    return Column(name=name, unit=panel.axis.unit, note=panel.axis.note, numeric=True)


def _row(name: str, told: Sequence[Panel]) -> tuple[Cell, ...]:
    return (marks.name_cell(name), *_cells(name, told))


def _cells(name: str, told: Sequence[Panel]) -> Iterator[Cell]:
    for panel in told:
        for own, estimates in panel.series.items():
            yield marks.data_cell(estimates.get(name), tied=(own, name) in panel.tied)


def _alt(names: Sequence[str], told: Sequence[Panel]) -> str:
    parts = []
    for panel in told:
        for own, estimates in panel.series.items():
            figures = ", ".join(f"{name} {estimates[name].value:.3g}" for name in names if name in estimates)
            parts.append(f"{panel.title}{f', {own}' if len(panel.series) > 1 else ''}: {figures}")
    return f"Dots with 95% intervals, one line a method. {'; '.join(parts)}."
