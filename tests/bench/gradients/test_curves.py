"""The curves' axes: as many ticks as can be read, and no singular value where there is but rounding."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from bench.gradients.curves import spectra, stability
from bench.plotting import house_style


def result(readings: list[int]) -> dict[str, Any]:
    linear = {"name": "block.0.up", "role": "up", "block": 0}
    rows = [{"role": "up", "space": "none", "step": step, "jaccard_step_before": 0.5} for step in readings]
    return {"linears": [linear], "readings": readings, "spaces": {"none": "as it is"}, "rows": rows}


@pytest.mark.parametrize(
    ("readings", "ticks"),
    [
        ([7], [7]),
        ([*range(10, 91, 10)], [*range(10, 91, 10)]),
        ([*range(1, 13)], [2, 4, 6, 8, 10, 12]),
        ([*range(1, 901)], [*range(100, 901, 100)]),
    ],
)
def test_ticks_of_many_readings_do_not_run_together(readings: list[int], ticks: list[int]) -> None:
    with house_style() as style:
        figure = stability(style, result(readings), "setting")
        (panel,) = figure.axes
        figure.canvas.draw()
        labels = [label.get_window_extent() for label in panel.get_xticklabels()]
    assert [*panel.get_xticks()] == ticks
    assert all(one.x1 < other.x0 for one, other in pairwise(labels))


@pytest.mark.parametrize(("least", "shown"), [(1e-12, 1e-8), (1e-3, 1e-4)])
def test_rounding_is_no_spectrum(least: float, shown: float) -> None:
    both = {side: {"ranks": [1, 2, 3], "relative": [1.0, 0.1, least]} for side in ("in", "out")}
    with house_style() as style:
        figure = spectra(style, result([1]), "setting", {"shared": {"steps": 2, "decay": {"up": both}}})
    bottom, top = figure.axes[0].get_ylim()
    assert shown <= bottom <= max(shown, least) and top > 1
