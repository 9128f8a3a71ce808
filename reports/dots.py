"""Drawings of one quantity by method or model: the ratings of a judge, the largest size that fits."""

from __future__ import annotations

from bench.rows import BASELINE
from bench.tables import mebibytes
from reports.document import Figure
from reports.drawn import or_a_line
from reports.figures.marks import Axis, Estimate
from reports.figures.panels import Panel, panels
from reports.reading.capacity import CapacityGroup
from reports.reading.judged import JudgedRun
from reports.reading.settings import model_called

__all__ = ["capacity_figure", "judged_figure"]

_WIDTH = 3.5


@or_a_line
def judged_figure(run: JudgedRun, id: str) -> list[Figure]:
    """Every model's mean rating, the first model's as a line; nothing where fewer than two were rated."""
    rated = {
        rating.model: Estimate(value=rating.mean, low=rating.low, high=rating.high)
        for rating in run.ratings
        if rating.mean is not None
        and (rating.low is None or rating.low <= rating.mean)
        and (rating.high is None or rating.mean <= rating.high)
    }
    if len(rated) < 2:
        return []
    first = next(iter(rated))
    ties = {model for model, *_, told in run.differences if told == "~"}
    questions = max((rating.questions or 0 for rating in run.ratings), default=0)
    axis = Axis(
        name="mean rating", unit="1 to 10", higher_is_better=True, note=f"95% CI, n = {questions} questions a model"
    )
    tied = frozenset(("", model) for model in ties & rated.keys())
    panel = Panel(title=run.questions, axis=axis, at=rated[first].value, series={"": rated}, tied=tied)
    notes = (f"Line: {first}. Hollow: not told apart from it, paired over questions.",)
    return [panels(id, f"Ratings by {run.judge}", list(rated), [panel], width=_WIDTH, notes=notes)]


@or_a_line
def capacity_figure(group: CapacityGroup, id: str) -> list[Figure]:
    """The largest size of each method over full's; nothing where full, or everything else, has none."""
    fits = {name: ratio for name in group.sizes if (ratio := group.ratio(name)) is not None and ratio > 0}
    if BASELINE not in fits or len(fits) < 2:
        return []
    axis = Axis(
        name=f"largest {group.find} over {BASELINE}'s", unit="x", higher_is_better=True, note="one exact search each"
    )
    series = {"": {name: Estimate(value=ratio) for name, ratio in fits.items() if name != BASELINE}}
    panel = Panel(title=f"within {mebibytes(group.budget_bytes)}", axis=axis, at=1.0, series=series)
    notes = (f"Line: {BASELINE}.",)
    title = f"What fits, {model_called(group.record)}"
    return [panels(id, title, list(series[""]), [panel], width=_WIDTH, notes=notes)]
