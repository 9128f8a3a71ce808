"""One line a method: a dot at the estimate, a bar over its interval, hollow and grey where nothing is told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.plotting import house_style
from reports.document import Column, Figure
from reports.figures import marks
from reports.figures.marks import Axis, Estimate

__all__ = ["Compared", "quality_differences", "speed_ratios"]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A method beside the reference."""

    name: str
    estimate: Estimate
    tied: bool
    """Not told apart from the reference."""


def speed_ratios(
    id: str, title: str, rows: Sequence[Compared], *, reference: str, rounds: int, noise: Estimate | None
) -> Figure:
    """Speed over the reference's, log axis. ``noise``: the reference against itself (A/A), drawn as a band.

    Raises ValueError where there is no row, or a ratio is not above 0.
    """
    axis = Axis(
        name=f"speed over {reference}",
        unit="x",
        log=True,
        higher_is_better=True,
        note=f"95% CI, n = {rounds} paired rounds",
    )
    notes = ("Band: the reference against itself (A/A). Hollow: not told apart from it.",) if noise else ()
    return _drawn(id, title, rows, axis=axis, at=1.0, band=noise, reference=reference, notes=notes)


def quality_differences(
    id: str, title: str, rows: Sequence[Compared], *, metric: str, reference: str, seeds: int, margin: float | None
) -> Figure:
    """Metric minus the reference's. ``margin``: of non-inferiority, in the metric's unit, drawn as a band around 0.

    Raises ValueError where there is no row.
    """
    axis = Axis(
        name=f"{metric} minus that of {reference}",
        higher_is_better=True,
        note=f"95% CI, n = {seeds} paired seeds",
    )
    band = None if margin is None else Estimate(value=0.0, low=-margin, high=margin)
    notes = ("Hollow: a tie.",) if band is None else (f"Band: the margin of {margin:g}. Hollow: a tie.",)
    return _drawn(id, title, rows, axis=axis, at=0.0, band=band, reference=reference, notes=notes)


def _drawn(
    id: str,
    title: str,
    rows: Sequence[Compared],
    *,
    axis: Axis,
    at: float,
    band: Estimate | None,
    reference: str,
    notes: tuple[str, ...],
) -> Figure:
    if not rows:
        raise ValueError(f"figure {id}: nothing to draw")
    marks.check_scale(axis, (row.estimate.value for row in rows))
    seen = [at, *(end for row in rows for end in (row.estimate.value, *row.estimate.ends))]
    ends = marks.limits([*seen, *(band.ends if band else ())], log=axis.log)
    with house_style() as style:
        axes = marks.plot(style, height=0.1 + 0.26 * len(rows))
        marks.place_on(axes, "x", axis, ends)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        if band is not None:
            axes.axvspan(max(band.ends[0], ends[0]), min(band.ends[1], ends[1]), color="#56B4E9", alpha=0.25, lw=0)
        axes.axvline(at, color="#000000", linewidth=0.8)
        for place, row in enumerate(rows):
            colour = marks.UNSURE if row.tied else marks.SURE
            axes.errorbar(
                [row.estimate.value],
                [place],
                xerr=marks.whiskers([row.estimate], ends),
                color=colour,
                marker="o",
                markersize=5.5,
                markerfacecolor="#ffffff" if row.tied else colour,
                elinewidth=1.8,
                capsize=2.5,
            )
        axes.set_yticks(range(len(rows)), [marks.drawable(row.name) for row in rows])
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        columns = (Column(name="method"), Column(name=axis.name, unit=axis.unit, numeric=True))
        return marks.finished(
            axes.figure,
            id=id,
            title=title,
            alt=_alt(rows, axis, reference),
            columns=columns,
            rows=((marks.name_cell(row.name), marks.data_cell(row.estimate, tied=row.tied)) for row in rows),
            notes=notes,
        )


def _alt(rows: Sequence[Compared], axis: Axis, reference: str) -> str:
    told = "; ".join(_spoken(row, reference) for row in rows)
    return f"Dots with 95% intervals, one line a method. {axis.name}: {told}."


def _spoken(row: Compared, reference: str) -> str:
    cell = marks.data_cell(row.estimate)
    told = f"{row.name} {cell.text} {cell.interval or 'without an interval'}"
    return f"{told}, not told apart from {reference}" if row.tied else told
