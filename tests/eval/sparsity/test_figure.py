"""The figure: marks at scores, bands of the paired difference about dense, ticks at the levels, the same bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from eval.sparsity.figure import _panel, drawn


def row(kept: str, share: float, mean: float | None, low: float | None = None, verdict: str = "~") -> dict[str, Any]:
    told = None if low is None or mean is None else {"low": low, "high": -low}
    method = "full" if kept == "dense" else "meprop"
    where = {"task": "sst2", "split": "validation", "base_method": method, "kept": kept, "share": share}
    return {**where, "headline": {"mean": mean}, "difference": told, "verdict": verdict}


ROWS = [
    row("0.8%", 0.008, 0.70, -0.2, "worse"),
    row("22k", 0.0096, None),
    row("4.2%", 0.042, 0.88, -0.03),
    row("dense", 1.0, 0.9),
]


def test_marks_bands_and_ticks_are_the_rows() -> None:
    axes = Figure().subplots()
    _panel(axes, ROWS)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.8", "0.96", "4.2"]
    hollow, filled = (line for line in axes.lines if line.get_marker() == "o")
    assert np.ravel(hollow.get_xydata()).tolist() == pytest.approx([0.8, 70.0, 4.2, 88.0])
    assert np.ravel(filled.get_xydata()).tolist() == pytest.approx([0.8, 70.0])
    assert hollow.get_markerfacecolor() == "white" and filled.get_markerfacecolor() == filled.get_color()
    assert filled.get_zorder() >= hollow.get_zorder() and hollow.get_label() == "meprop"
    assert axes.get_ylabel() == "accuracy, points"
    corners = np.asarray(axes.collections[0].get_paths()[0].vertices)[:, 1]
    assert corners.min() == pytest.approx(70) and corners.max() == pytest.approx(110)


def test_it_says_what_its_bands_and_marks_are_and_of_two_metrics_both(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}
    monkeypatch.setattr("eval.sparsity.figure.figure_bytes", lambda figure, kind: made.setdefault(kind, figure))
    drawn([one | {"task": "stsb"} for one in ROWS], "small")
    (panel,) = made["svg"].axes
    assert panel.get_ylabel() == "mean of pearson and spearman, points"
    assert "95% CI of the difference" in panel.get_title() and "filled: told from dense" in panel.get_title()


def test_the_same_rows_give_the_same_bytes_and_a_lost_reference_no_band() -> None:
    files = drawn(ROWS, "small, 3 seeds")
    assert files == drawn(ROWS, "small, 3 seeds") and files["png"].startswith(b"\x89PNG")
    assert drawn([*ROWS[:3], row("dense", 1.0, None)], "small")["svg"]
