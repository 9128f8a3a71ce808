"""All methods at one glance: what a step costs at each model's shape, and what it is worth on each task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.rows import BASELINE
from eval.metrics import TASK_METRICS
from reports.document import Block, Figure
from reports.drawings import difference_to, first_split
from reports.drawn import or_a_line
from reports.figures.marks import Axis, Estimate
from reports.figures.panels import Panel, panels
from reports.reading.quality import nothing_learned
from reports.reading.settings import model_called
from reports.reading.several import most_methods
from reports.reading.shelf import Shelf
from reports.reading.speed import SpeedRun

__all__ = ["PICTURES", "at_a_glance", "cost_at_a_glance", "quality_at_a_glance"]

PICTURES = ("glance-cost", "glance-quality")
"""Ids of the drawings, which are files of their own beside the page."""

_MODELS, _TASKS = 3, 4
"""As many as a reader tells apart at once; the tables have all."""


@or_a_line
def at_a_glance(shelf: Shelf) -> list[Block]:
    """Both drawings, as far as there is something to draw."""
    cost, quality = PICTURES
    drawn = [cost_at_a_glance(shelf, cost), quality_at_a_glance(shelf, quality)]
    return [figure for figure in drawn if figure is not None]


def cost_at_a_glance(shelf: Shelf, id: str) -> Figure | None:
    """Time a step and peak memory over full's, of each model's largest run; None without one that has both."""
    runs = _largest(shelf.speed)
    names = list(dict.fromkeys(name for run in runs.values() for name in run.rows if name != BASELINE))
    times, peaks, tied = {}, {}, set()
    for model, run in runs.items():
        ratios = {name: ratio for name in names if (ratio := run.speed(name)) is not None}
        times[model] = {name: _inverse(Estimate.of(ratio)) for name, ratio in ratios.items()}
        peaks[model] = {name: Estimate(value=peak) for name in names if (peak := run.peak_ratio(name)) is not None}
        tied |= {(model, name) for name in ratios if run.told(name) == "~"}
    if not any(times.values()) or not any(peaks.values()):
        return None
    rounds = sorted({len(run.rows[BASELINE].samples_ms) for run in runs.values() if BASELINE in run.rows})
    spoken = f"n = {' or '.join(map(str, rounds))} paired rounds"
    axes = [
        Axis(name="over full's", unit="x", log=True, higher_is_better=False, note=f"95% CI, {spoken}"),
        Axis(name="over full's", unit="x", higher_is_better=False, note="a fresh process each"),
    ]
    return panels(
        id,
        "What a training step costs",
        names,
        [
            Panel(title="Time", axis=axes[0], at=1.0, series=times, tied=frozenset(tied)),
            Panel(title="Peak memory", axis=axes[1], at=1.0, series=peaks),
        ],
        width=3.2,
        notes=("Hollow: not told apart from full fine-tuning. Of each model the run with the most methods.",),
    )


def quality_at_a_glance(shelf: Shelf, id: str) -> Figure | None:
    """Points to full fine-tuning on each task, of its comparison with the most methods; None without one."""
    compared = most_methods(one for one in shelf.quality if one.reference() == BASELINE)
    told = []
    shown: list[dict[str, Any]] = []
    for task, one in list(compared.items())[:_TASKS]:
        rows = first_split(one.rows(BASELINE))
        shown += rows
        known = {row["method"]: row for row in rows if row["difference"] is not None}
        seeds = max((len(row["seeds"]) for row in rows), default=0)
        told.append(
            Panel(
                title=f"{task}: {' and '.join(TASK_METRICS[task])}",
                axis=Axis(name="minus full's", unit="points", higher_is_better=True, note=f"95% CI, n = {seeds} seeds"),
                at=0.0,
                series={"": {name: difference_to(row["difference"]) for name, row in known.items()}},
                tied=frozenset(("", name) for name, row in known.items() if row["verdict"] == "~"),
            )
        )
    names = list(dict.fromkeys(name for panel in told for own in panel.series.values() for name in own))
    if not names:
        return None
    notes = ("Hollow: a tie with full fine-tuning.", *nothing_learned(shown))
    return panels(id, "What it is worth", names, told, width=2.3, notes=notes)


def _largest(runs: Sequence[SpeedRun]) -> dict[str, SpeedRun]:
    """Model -> its run with the most methods, the newest of several; at most so many, the largest runs first."""
    found: dict[str, SpeedRun] = {}
    for run in sorted(runs, key=lambda run: (len(_measured(run)), run.record.ended), reverse=True):
        if len(_measured(run)) > 1:
            found.setdefault(model_called(run.record), run)
    return dict(list(found.items())[:_MODELS])


def _measured(run: SpeedRun) -> list[str]:
    return [name for name in run.rows if run.speed(name) is not None]


def _inverse(speed: Estimate) -> Estimate:
    """Time over time, of speed over speed."""
    low, high = (None if end is None else 1 / end for end in (speed.high, speed.low))
    return Estimate(value=1 / speed.value, low=low, high=high)
