"""Peak memory: what it consists of, stacked; and each phase's highest point, side by side since they do not add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.plotting import COLOURS, HATCHES, house_style
from reports.document import Cell, CellStatus, Column, Figure
from reports.figures import marks
from reports.figures.marks import Axis, Estimate

__all__ = ["Bar", "memory_by_category", "memory_by_phase"]

_MIB = 2**20
_MARKERS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One method."""

    name: str
    parts_bytes: Mapping[str, int | None]
    """By category or phase, in the order in which they are drawn; None is not measured."""


def memory_by_category(id: str, title: str, bars: Sequence[Bar], *, instrument: str) -> Figure:
    """What is alive at the peak, one stacked bar a method. ValueError where there is no bar or no part."""
    parts = _parts(id, bars)
    totals = [sum(amount or 0 for amount in bar.parts_bytes.values()) / _MIB for bar in bars]
    with house_style() as style:
        axes = marks.plot(style, height=0.1 + 0.29 * len(bars))
        marks.place_on(axes, "x", _axis(instrument), (0.0, max(totals) * 1.08 or 1.0))
        left = [0.0] * len(bars)
        for place, part in enumerate(parts):
            widths = [(bar.parts_bytes.get(part) or 0) / _MIB for bar in bars]
            axes.barh(
                range(len(bars)),
                widths,
                left=left,
                height=0.68,
                label=marks.drawable(part.replace("_", " ")),
                color=COLOURS[place % len(COLOURS)],
                hatch=HATCHES[place % len(HATCHES)],
                edgecolor="#ffffff",
                linewidth=0.6,
            )
            left = [before + width for before, width in zip(left, widths, strict=True)]
        _finish_rows(axes, bars)
        return marks.finished(
            axes.figure,
            id=id,
            title=title,
            alt=_alt("Stacked bars of what is alive at the peak, one a method, in MiB", bars),
            columns=_columns(parts),
            rows=_rows(bars, parts),
        )


def memory_by_phase(id: str, title: str, bars: Sequence[Bar], *, instrument: str) -> Figure:
    """The peak inside each phase of the train step: the method's is the highest. ValueError where there is none."""
    parts = _parts(id, bars)
    highest = [max((amount or 0 for amount in bar.parts_bytes.values()), default=0) / _MIB for bar in bars]
    with house_style() as style:
        axes = marks.plot(style, height=0.1 + 0.29 * len(bars))
        marks.place_on(axes, "x", _axis(instrument), (0.0, max(highest) * 1.08 or 1.0))
        axes.barh(range(len(bars)), highest, height=0.14, color="#b9b9b9")
        for place, part in enumerate(parts):
            seen = [(row, bar.parts_bytes.get(part)) for row, bar in enumerate(bars)]
            axes.plot(
                [amount / _MIB for _, amount in seen if amount is not None],
                [row for row, amount in seen if amount is not None],
                linestyle="none",
                marker=_MARKERS[place % len(_MARKERS)],
                markersize=6,
                color=COLOURS[place % len(COLOURS)],
                label=marks.drawable(part.replace("_", " ")),
            )
        _finish_rows(axes, bars)
        return marks.finished(
            axes.figure,
            id=id,
            title=title,
            alt=_alt("The peak inside each phase of a train step, one line a method, in MiB", bars),
            columns=_columns(parts),
            rows=_rows(bars, parts),
            notes=("The phases' peaks do not add up: the method's peak is the highest of them.",),
        )


def _parts(id: str, bars: Sequence[Bar]) -> list[str]:
    parts = list(dict.fromkeys(part for bar in bars for part in bar.parts_bytes))
    if not parts:
        raise ValueError(f"figure {id}: nothing to draw")
    return parts


def _axis(instrument: str) -> Axis:
    return Axis(name="peak memory", unit="MiB", higher_is_better=False, note=f"{instrument}; n = 1 reading a method")


def _finish_rows(axes, bars: Sequence[Bar]) -> None:
    axes.set_yticks(range(len(bars)), [marks.drawable(bar.name) for bar in bars])
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=3,
        frameon=False,
        fontsize=8,
        handlelength=1.4,
        columnspacing=1.2,
    )


def _columns(parts: Sequence[str]) -> tuple[Column, ...]:
    figures = (Column(name=part.replace("_", " "), unit="MiB", numeric=True) for part in parts)
    return (Column(name="method"), *figures)


def _rows(bars: Sequence[Bar], parts: Sequence[str]) -> list[tuple[Cell, ...]]:
    return [(marks.name_cell(bar.name), *(_amount(bar.parts_bytes.get(part)) for part in parts)) for bar in bars]


def _amount(amount: int | None) -> Cell:
    if amount is None:
        return Cell(text="", status=CellStatus.NOT_MEASURED)
    return marks.data_cell(Estimate(value=amount / _MIB))


def _alt(what: str, bars: Sequence[Bar]) -> str:
    told = "; ".join(
        f"{bar.name}: "
        + ", ".join(
            f"{part.replace('_', ' ')} {'n/a' if amount is None else f'{amount / _MIB:,.0f}'}"
            for part, amount in bar.parts_bytes.items()
        )
        for bar in bars
    )
    return f"{what}. {told}."
