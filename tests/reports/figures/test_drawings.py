"""Each drawing: the same bytes every time, its data in its table; hostile names and open intervals are drawn too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reports.document import Document, Figure
from reports.figures.curves import Line, curves
from reports.figures.intervals import Compared, quality_differences, speed_ratios
from reports.figures.marks import Axis, Estimate
from reports.figures.memory import Bar, memory_by_category, memory_by_phase
from reports.vector import inline_svg
from tests.reports.small_report import SPEEDS, small_report

MIB = 2**20


def figures(report: Document) -> list[Figure]:
    return [block for block in report.blocks() if isinstance(block, Figure)]


def test_the_same_values_give_the_same_bytes() -> None:
    assert [one.svg for one in figures(small_report())] == [one.svg for one in figures(small_report())]


def test_every_drawing_says_what_it_shows() -> None:
    for figure in figures(small_report()):
        assert inline_svg(figure.svg, figure.id, figure.alt)
        first = figure.data.rows[0][0].text
        assert first in figure.alt
        assert len(figure.data.rows) >= 2


@pytest.mark.parametrize(
    "name", ["$x_1$", "<script>", "\\frac{1}", "a\nb\x1b[31m", "\u202eabc", "木🌲" * 30, "\ud800", " "]
)
def test_any_name_is_drawn_without_a_warning(name: str) -> None:
    for figure in figures(small_report(lambda text: name)):
        assert inline_svg(figure.svg, figure.id, "alt")


def ratios(*rows: tuple[str, float, float | None, bool]) -> Figure:
    told = [Compared(name=name, estimate=Estimate(value=v, low=low), tied=tied) for name, v, low, tied in rows]
    return speed_ratios("s", "Speed", told, reference="full", rounds=2, noise=Estimate(value=1.0, low=0.9))


def test_ratios_with_open_ends_are_drawn() -> None:
    figure = ratios(("lora", 1.04, 0.2, True), ("meprop", 1.3, 1.2, False))
    assert [row[1].interval for row in figure.data.rows] == ["[0.2, inf]", "[1.2, inf]"]
    assert [row[1].shown for row in figure.data.rows] == ["~ 1.04", "1.3"]
    assert "lora 1.04 [0.2, inf], not told apart from full" in figure.alt


def test_a_tie_looks_otherwise() -> None:
    tied, told = ratios(("lora", 1.1, 1.0, True)), ratios(("lora", 1.1, 1.0, False))
    assert tied.svg != told.svg
    assert b"#0072b2" in told.svg.lower() and b"#0072b2" not in tied.svg.lower()


def test_a_ratio_is_above_zero() -> None:
    with pytest.raises(ValueError, match="no place on a logarithmic axis"):
        ratios(("lora", 0.0, None, False))


@pytest.mark.parametrize("draw", [memory_by_category, memory_by_phase])
def test_bars_keep_what_was_not_measured_apart_from_zero(draw: Callable[..., Figure]) -> None:
    bars = [Bar(name="full", parts_bytes={"a": 3 * MIB, "b": None}), Bar(name="frozen", parts_bytes={"b": 0})]
    figure = draw("m", "Memory", bars, instrument="tracked")
    assert [[cell.shown for cell in row] for row in figure.data.rows] == [["full", "3", "n/a"], ["frozen", "n/a", "0"]]
    assert "n = 1" not in figure.title and "b n/a" in figure.alt


def test_nothing_is_no_drawing() -> None:
    empty: list[Callable[[], Figure]] = [
        lambda: memory_by_phase("m", "t", [], instrument="tracked"),
        lambda: memory_by_category("m", "t", [Bar(name="full", parts_bytes={})], instrument="tracked"),
        lambda: speed_ratios("s", "t", [], reference="full", rounds=1, noise=None),
        lambda: quality_differences("q", "t", [], metric="f1", reference="full", seeds=1, margin=None),
        lambda: curves("c", "t", [], across=Axis(name="x"), upward=Axis(name="y")),
    ]
    for draw in empty:
        with pytest.raises(ValueError, match="nothing to draw"):
            draw()


def test_a_line_has_a_value_at_every_place() -> None:
    with pytest.raises(ValueError, match="2 places and 1 values"):
        Line(name="a", at=(1, 2), values=(Estimate(value=1.0),))
    with pytest.raises(ValueError, match="do not ascend"):
        Line(name="a", at=(2, 1), values=(Estimate(value=1.0),) * 2)


def test_the_methods_of_the_small_report_are_all_drawn() -> None:
    by_id = {figure.id: figure for figure in figures(small_report())}
    assert [row[0].text for row in by_id["pareto-figure"].data.rows] == list(SPEEDS)
    assert [row[0].text for row in by_id["memory-figure"].data.rows] == list(SPEEDS)
