"""Supports as sets of places, and what covers them."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.gradients.supports import cover, in_core, jaccard, largest, overlap

SHAPE = (5, 6)
places_of = st.sets(st.integers(0, SHAPE[0] * SHAPE[1] - 1), min_size=1, max_size=10)


def as_places(chosen: set[int]) -> torch.Tensor:
    return torch.tensor(sorted(chosen))


@given(places_of, places_of)
def test_likeness_is_that_of_sets(a: set[int], b: set[int]) -> None:
    assert jaccard(as_places(a), as_places(b)) == pytest.approx(len(a & b) / len(a | b))
    assert overlap(as_places(a), as_places(b)) == pytest.approx(len(a & b) / len(a))


def fewest_lines(chosen: set[int]) -> int:
    """By trying all: the least number of rows and columns that hold every place."""
    lines = [("row", i) for i in range(SHAPE[0])] + [("column", i) for i in range(SHAPE[1])]
    for count in range(len(lines) + 1):
        for taken in combinations(lines, count):
            if all(("row", p // SHAPE[1]) in taken or ("column", p % SHAPE[1]) in taken for p in chosen):
                return count
    raise AssertionError("all lines cover everything")


@given(places_of)
def test_the_least_cover_is_the_least_and_bounds_the_cheapest(chosen: set[int]) -> None:
    read = cover(as_places(chosen), SHAPE)
    assert read.least_cover == fewest_lines(chosen)
    assert read.least_cover <= read.cover_rows + read.cover_columns
    assert read.rows_touched == len({place // SHAPE[1] for place in chosen})
    assert read.columns_touched == len({place % SHAPE[1] for place in chosen})
    assert read.cover_columns <= read.columns_touched


def test_a_cross_is_covered_by_its_two_lines() -> None:
    cross = {6 * 2 + column for column in range(6)} | {6 * row + 4 for row in range(5)}
    read = cover(as_places(cross), SHAPE)
    assert (read.cover_rows, read.cover_columns, read.least_cover) == (1, 1, 2)
    assert (read.rows_touched, read.columns_touched) == (5, 6)


def test_the_largest_entries_are_those_of_a_sort() -> None:
    g = torch.randn(20, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert set(largest(g, 17).tolist()) == set(g.abs().reshape(-1).argsort(descending=True)[:17].tolist())


def test_a_support_in_a_core_is_the_strongest_of_the_core_in_places_of_the_whole() -> None:
    energy = torch.rand(20, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inside = sorted((-float(energy[r, c]), r * 30 + c) for r in range(4) for c in range(9))
    assert in_core(energy, (4, 9), 7).tolist() == sorted(place for _, place in inside[:7])
