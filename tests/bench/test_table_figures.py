"""Figures of the table, one at a time: counts, sizes, rates and ratios as text."""

from typing import Any

import pytest

from bench.tables import count, mebibytes, rate, ratio

MIB = 2**20


def between(mean: float, low: float, high: float | None) -> dict[str, Any]:
    return {"mean": mean, "low": low, "high": high, "rounds": 3}


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "n/a"),
        (0, "0"),
        (999, "999"),
        (1_000, "1k"),
        (70_776, "70.8k"),
        (999_499, "999k"),
        (999_999, "1M"),
        (7_084_034, "7.08M"),
        (6_738_415_616, "6.74B"),
    ],
)
def test_counts(number: int | None, text: str) -> None:
    assert count(number) == text


def test_ratios_and_sizes() -> None:
    assert ratio(None) == "n/a"
    assert ratio(between(1.62, 1.58, 1.66), "faster") == "1.62x [1.58, 1.66]"
    assert ratio(between(1.62, 1.58, 1.66), "~") == "~ 1.62x [1.58, 1.66]"
    assert ratio(between(1.62, 0.0, None), "~") == "~ 1.62x [0.00, inf]"
    assert mebibytes(812 * MIB) == "812 MiB"
    assert mebibytes(10 * MIB) == "10 MiB" and mebibytes(9.5 * MIB) == "9.5 MiB" and mebibytes(645_120) == "0.6 MiB"
    assert mebibytes(0) == "0 MiB", "frozen keeps nothing"
    assert mebibytes(12_345 * MIB) == "12,345 MiB"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.4589, "0.459"), (2.0, "2"), (99.96, "100"), (999.4, "999"), (2_500.4, "2,500"), (1e6, "1,000,000")],
)
def test_rates(number: float, text: str) -> None:
    assert rate(number) == text
