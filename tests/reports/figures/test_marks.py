"""Values, axes and names of drawings: nothing outside its interval, nothing off its axis, any name drawable."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.figures.marks import Axis, Estimate, check_scale, data_cell, drawable, limits, whiskers

finite = st.floats(-1e12, 1e12)


@pytest.mark.parametrize(
    ("value", "low", "high"), [(1.0, 2.0, 3.0), (4.0, 2.0, 3.0), (math.nan, None, None), (math.inf, 0, None)]
)
def test_an_estimate_lies_inside_its_interval(value: float, low: float | None, high: float | None) -> None:
    with pytest.raises(ValueError, match="is no estimate inside"):
        Estimate(value=value, low=low, high=high)


def test_a_value_alone_is_exact_and_an_open_end_is_infinite() -> None:
    assert Estimate(value=2.0).ends == (2.0, 2.0)
    assert Estimate(value=2.0, low=1.0).ends == (1.0, math.inf)
    assert Estimate(value=2.0, high=3.0).ends == (-math.inf, 3.0)


@given(st.lists(finite, min_size=1), st.lists(st.sampled_from([math.inf, -math.inf])))
def test_an_axis_has_air_around_every_finite_value(values: list[float], open_ends: list[float]) -> None:
    low, high = limits([*values, *open_ends])
    assert math.isfinite(low) and math.isfinite(high)
    assert low < min(values) and max(values) < high


@given(st.lists(st.floats(1e-9, 1e12), min_size=1))
def test_a_logarithmic_axis_too(values: list[float]) -> None:
    low, high = limits([*values, -1.0, 0.0], log=True)
    assert 0 < low < min(values) and max(values) < high


@given(st.lists(st.tuples(finite, st.floats(0, 1e6), st.sampled_from(["both", "low", "high"])), min_size=1))
def test_whiskers_end_at_the_interval_or_at_the_axis(drawn: list[tuple[float, float, str]]) -> None:
    told = [
        Estimate(value=v, low=v - half if sides != "high" else None, high=v + half if sides != "low" else None)
        for v, half, sides in drawn
    ]
    ends = limits(end for one in told for end in (one.value, *one.ends))
    below, above = whiskers(told, ends)
    for one, down, up in zip(told, below, above, strict=True):
        assert down == pytest.approx(one.value - max(one.ends[0], ends[0]), abs=1e-3)
        assert up == pytest.approx(min(one.ends[1], ends[1]) - one.value, abs=1e-3)


def test_what_has_no_logarithm_is_refused() -> None:
    check_scale(Axis(name="share"), [0.0])
    with pytest.raises(ValueError, match="share: 0 has no place on a logarithmic axis"):
        check_scale(Axis(name="share", log=True), [1.0, 0.0])


def test_a_label_says_unit_direction_and_n() -> None:
    axis = Axis(name="peak", unit="MiB", higher_is_better=False, note="n = 3")
    assert axis.label == "peak (MiB), lower is better\nn = 3"


@given(st.text())
def test_any_name_can_be_drawn(name: str) -> None:
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    shown = drawable(name)
    assert 0 < len(shown) <= 34
    assert set(map(ord, shown)) <= set(FT2Font(str(findfont("DejaVu Sans"))).get_charmap())


def test_ordinary_names_are_drawn_as_they_are() -> None:
    assert drawable("sparsegrad-sd $k_1$ <b> &amp;") == "sparsegrad-sd $k_1$ <b> &amp;"


def test_the_data_has_value_interval_and_tie() -> None:
    cell = data_cell(Estimate(value=1.61, low=1.58), tied=True)
    assert (cell.shown, cell.sort, cell.interval) == ("~ 1.61", 1.61, "[1.58, inf]")
    assert data_cell(Estimate(value=2.0)).interval is None
    assert data_cell(None).shown == "n/a"
