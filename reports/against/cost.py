"""Time and memory, before and after."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import ttest_ind

from bench.record import Record
from bench.rows import BASELINE
from bench.stats import noise_floor
from reports.against.change import Change
from reports.behind import behind, step_times
from reports.document import Samples
from reports.reading.memory import Peak
from reports.reading.places import machine, same_workload
from reports.reading.settings import setting_of
from reports.reading.shelf import Shelf
from reports.reading.speed import SpeedRun

__all__ = ["peak_changes", "speed_changes"]

_PEAK_BOUND = 0.01
_LARGEST_LOG = 700.0
"""Of a float's exponential: an interval wider than that says nothing either."""


def speed_changes(before: Shelf, after: Shelf) -> Iterator[Change]:
    """Of full its time; of every other method its time over full's in the same round, which a busier day leaves as it
    is."""
    # Shelves are newest first: turned around, the newest of a place stands.
    earlier = {_place(run.record): run for run in reversed(before.speed)}
    for place, run in {_place(run.record): run for run in reversed(after.speed)}.items():
        if place in earlier:
            yield from _of_run(earlier[place], run)


def _place(record: Record) -> str:
    """What both must share. The list of methods does not change what one of them costs."""
    return same_workload(record, but=("methods",)) + machine(record) + str(record.fingerprints.get("model"))


def _of_run(old: SpeedRun, new: SpeedRun) -> Iterator[Change]:
    floor = max(math.inf if run.aa is None else noise_floor(run.aa) for run in (old, new))
    for method in new.rows:
        was, now = _logs(old, method), _logs(new, method)
        if was is not None and now is not None:
            what = "step time" if method == BASELINE else "step time over full's"
            yield _times(old, new, method, what, (was, now), floor)


def _logs(run: SpeedRun, method: str) -> Any:
    """Logarithms of a step's times by round, of other methods than full minus full's; None for too few rounds."""
    row, full = run.rows.get(method), run.rows.get(BASELINE)
    if row is None or full is None or len(row.samples_ms) < 2 or len(row.samples_ms) != len(full.samples_ms):
        return None
    times = np.log(row.samples_ms)
    return times if method == BASELINE else times - np.log(full.samples_ms)


def _times(old: SpeedRun, new: SpeedRun, method: str, what: str, samples: tuple[Any, Any], floor: float) -> Change:
    """Welch's interval of the difference of mean logs, which are times, or times over full's of the same round."""
    was, now = samples
    difference = float(now.mean() - was.mean())
    pooled = math.sqrt((float(was.var(ddof=1)) + float(now.var(ddof=1))) / 2)
    low, high, p = difference, difference, 0.0 if difference else 1.0
    if pooled > 0:
        tested = ttest_ind(now, was, equal_var=False)
        interval = tested.confidence_interval(0.95)
        low, high, p = float(interval.low), float(interval.high), float(tested.pvalue)
    rows = (old.rows[method], new.rows[method])
    named = [replace(step_times(row), name=f"{when}: {method}, time of a step") for when, row in
             zip(("before", "after"), rows, strict=True)]  # fmt: skip
    return Change(
        what=what,
        method=method,
        setting=setting_of(new.record),
        value=_factor(difference),
        low=_factor(low),
        high=_factor(high),
        p_value=p,
        effect=difference / pooled if pooled > 0 else None,
        floor=floor,
        higher_is_better=False,
        detail=behind([old.source, new.source], named, "geometric means, Welch's t on logarithms"),
    )


def peak_changes(before: Shelf, after: Shelf) -> Iterator[Change]:
    """Peaks by one instrument."""
    earlier = _by_place(before)
    for place, peak in _by_place(after).items():
        if (was := earlier.get(place)) is not None:
            ratio = peak.peak_bytes / was.peak_bytes
            samples = [
                Samples(name=when, unit="bytes", values=(float(one.peak_bytes),))
                for when, one in (("before", was), ("after", peak))
            ]
            yield Change(
                what=f"peak, {peak.instrument}",
                method=peak.method,
                setting=setting_of(peak.record),
                value=ratio,
                low=ratio,
                high=ratio,
                p_value=None,
                effect=None,
                floor=math.log1p(_PEAK_BOUND),
                higher_is_better=False,
                detail=behind([was.source, peak.source], samples),
            )


def _by_place(shelf: Shelf) -> dict[tuple[str, str], Peak]:
    """Newest last."""
    peaks = sorted((peak for group in shelf.peaks for peak in group.peaks.values()), key=lambda p: p.record.ended)
    return {(peak.instrument, _place(peak.record)): peak for peak in peaks}


def _factor(log: float) -> float:
    return math.exp(min(log, _LARGEST_LOG))
