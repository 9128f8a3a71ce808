"""Means over blocks and readings, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from bench.gradients.summary import FIGURES, STRIPE_FIGURES, summary


def row(step: int, block: int, **figures: float | None) -> dict[str, Any]:
    named = dict.fromkeys((*FIGURES, *STRIPE_FIGURES), 0.0)
    return {"step": step, "block": block, "role": "up", "space": "none", **named, **figures}


def test_a_mean_is_over_all_rows_and_blocks_are_told_apart() -> None:
    rows = [row(10, 0, energy_share=0.2), row(20, 0, energy_share=0.4), row(10, 1, energy_share=0.9), row(20, 1)]
    rows[3]["energy_share"] = None
    (told,) = summary(rows, [])["gradients"]
    assert (told["blocks"], told["readings"]) == (2, 2)
    assert told["energy_share"]["mean"] == pytest.approx(0.5)
    assert told["energy_share"]["least_block"] == pytest.approx(0.3)
    assert told["energy_share"]["most_block"] == pytest.approx(0.9)


def test_what_no_row_has_is_none() -> None:
    (told,) = summary([], [row(1, 0, padding_share=None)])["stripes"]
    assert told["padding_share"] == {"mean": None, "least_block": None, "most_block": None}
    assert summary([], [])["gradients"] == []
