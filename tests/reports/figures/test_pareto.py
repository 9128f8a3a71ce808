"""Who is beaten: only by what is surely better in one thing and not surely worse in the other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.figures.marks import Axis, Estimate
from reports.figures.pareto import Point, pareto, unbeaten

COST, QUALITY = Axis(name="peak", unit="MiB", higher_is_better=False), Axis(name="accuracy", higher_is_better=True)


def around(value: float, half: float) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half)


numbers = st.floats(0.1, 100)
estimates = st.builds(around, numbers, st.floats(0, 20))
points = st.builds(Point, name=st.just("m"), cost=estimates, quality=estimates)


def test_a_tie_in_quality_goes_to_the_surely_cheaper() -> None:
    cheap = Point(name="cheap", cost=around(1, 0.1), quality=around(90.0, 1))
    dear = Point(name="dear", cost=around(2, 0.1), quality=around(90.5, 1))
    assert unbeaten([cheap, dear]) == [True, False]


def test_ties_in_both_stay_side_by_side() -> None:
    one = Point(name="one", cost=around(1, 1), quality=around(90, 1))
    other = Point(name="other", cost=around(1.5, 1), quality=around(89.5, 1))
    assert unbeaten([one, other]) == [True, True]


def test_an_open_end_beats_nobody() -> None:
    sure = Point(name="sure", cost=around(2, 0.1), quality=around(90, 1))
    open_ended = Point(name="open", cost=Estimate(value=1.0, low=0.9), quality=Estimate(value=99.0, high=99.5))
    assert unbeaten([sure, open_ended]) == [True, True]


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=8, unique=True))
def test_without_intervals_it_is_the_pareto_front(pairs: list[tuple[float, float]]) -> None:
    exact = [Point(name="m", cost=Estimate(value=c), quality=Estimate(value=q)) for c, q in pairs]
    front = [
        not any(c <= cost and q >= quality and (c, q) != (cost, quality) for c, q in pairs) for cost, quality in pairs
    ]
    assert unbeaten(exact) == front
    assert any(front)


@given(st.lists(points, min_size=1, max_size=6))
def test_neither_order_nor_units_matter(drawn: list[Point]) -> None:
    best = unbeaten(drawn)
    assert unbeaten(drawn[::-1]) == best[::-1]

    def scaled(one: Estimate) -> Estimate:
        low, high = one.ends
        return Estimate(value=4 * one.value, low=4 * low, high=4 * high)

    assert unbeaten([replace(p, cost=scaled(p.cost), quality=scaled(p.quality)) for p in drawn]) == best


def test_a_ring_of_ties_leaves_nobody() -> None:
    """Found by looking for it: as `unbeaten` says, ties are not transitive."""
    wide = Estimate(value=2.0, low=1.0, high=3.0)
    ring = [
        Point(name="a", cost=Estimate(value=1.0), quality=Estimate(value=1.0)),
        Point(name="b", cost=Estimate(value=2.0), quality=wide),
        Point(name="c", cost=Estimate(value=3.0), quality=Estimate(value=3.0)),
        Point(name="d", cost=wide, quality=Estimate(value=2.0)),
    ]
    assert unbeaten(ring) == [False] * 4


def test_the_table_behind_it_names_who_beats_whom() -> None:
    methods = [
        Point(name="full", cost=Estimate(value=279.0), quality=around(90, 0.5)),
        Point(name="lora", cost=Estimate(value=231.0), quality=around(90, 0.5)),
        Point(name="frozen", cost=Estimate(value=197.0), quality=around(80, 0.5)),
    ]
    figure = pareto("p", "Quality against memory", methods, cost=COST, quality=QUALITY)
    assert [row[3].text for row in figure.data.rows] == ["lora", "none", "none"]
    assert [row[1].sort for row in figure.data.rows] == [279.0, 231.0, 197.0]
    assert "full: 279 and 90, beaten" in figure.alt


def test_what_has_learned_nothing_beats_nobody() -> None:
    full = Point(name="full", cost=Estimate(value=191.0), quality=Estimate(value=0.0))
    collapsed = Point(name="compact", cost=Estimate(value=171.0), quality=around(-11.5, 15))
    assert unbeaten([full, collapsed]) == [False, True], "a tie in quality, and cheaper"
    collapsed = replace(collapsed, idle=True)
    assert unbeaten([full, collapsed]) == [True, False]
    figure = pareto("p", "t", [full, collapsed], cost=COST, quality=QUALITY)
    assert [row[3].text for row in figure.data.rows] == ["none", "one answer given to all"]
    assert "beats no method" in figure.notes[-1]


def test_nothing_is_no_drawing() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        pareto("p", "t", [], cost=COST, quality=QUALITY)
