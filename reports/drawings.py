"""Which figure is drawn from which records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from scipy.special import stdtrit

from bench.rows import BASELINE
from reports.document import Figure
from reports.figures.intervals import Compared, quality_differences, speed_ratios
from reports.figures.marks import Axis, Estimate, drawable
from reports.figures.memory import Bar, memory_by_phase
from reports.figures.pareto import Point, pareto
from reports.reading.memory import PeakGroup
from reports.reading.quality import Comparison, idle
from reports.reading.settings import workload_of
from reports.reading.speed import SpeedRun
from reports.tables.cells import MIB

__all__ = ["difference_to", "first_split", "memory_figure", "pareto_figures", "quality_figure", "speed_figure"]


def speed_figure(run: SpeedRun, id: str) -> Figure | None:
    """Every method's speed over full; None where none was measured."""
    rows = [
        Compared(name=name, estimate=Estimate.of(ratio), tied=run.told(name) == "~")
        for name in run.rows
        if name != BASELINE and (ratio := run.speed(name)) is not None
    ]
    rounds = max((len(row.samples_ms) for row in run.rows.values()), default=0)
    noise = None if run.aa is None else Estimate.of(run.aa)
    title = f"Speed over full: {workload_of(run.record)}"
    return speed_ratios(id, title, rows, reference=BASELINE, rounds=rounds, noise=noise) if rows else None


def memory_figure(group: PeakGroup, id: str) -> Figure | None:
    """The peak within each phase; None where no phase was told."""
    bars = [
        Bar(name=name, parts_bytes={phase: int(size) for phase, size in peak.by_phase_bytes.items()})
        for name, peak in group.peaks.items()
        if peak.by_phase_bytes
    ]
    title = f"Peak by phase: {workload_of(group.record)}"
    return memory_by_phase(id, title, bars, instrument=drawable(group.instrument)) if bars else None


def quality_figure(one: Comparison, id: str) -> Figure | None:
    """Every method's paired difference to the reference, on the task's first split."""
    reference = one.reference()
    rows = first_split(one.rows(reference))
    told = [
        Compared(name=row["method"], estimate=difference_to(row["difference"]), tied=row["verdict"] == "~")
        for row in rows
        if row["difference"] is not None
    ]
    seeds = max((len(row["seeds"]) for row in rows), default=0)
    title = f"Quality against {reference}, {one.task}"
    if not told:
        return None
    return quality_differences(id, title, told, metric="points", reference=reference, seeds=seeds, margin=1.0)


def pareto_figures(one: Comparison, id: str) -> list[Figure]:
    """Quality against peak memory and against training time; ties stay side by side."""
    reference = one.reference()
    rows = first_split(one.rows(reference))
    quality = Axis(name=f"points minus those of {reference}", higher_is_better=True, note="95% CI")
    figures = []
    peaks = [
        Point(
            name=row["method"],
            cost=Estimate(value=row["peak_bytes"] / MIB),
            quality=difference_to(row["difference"]),
            idle=idle(row),
        )
        for row in rows
        if row["peak_bytes"] is not None and row["seeds"]
    ]
    if len(peaks) > 1:
        cost = Axis(name="peak memory", unit="MiB", higher_is_better=False)
        figures.append(pareto(f"{id}-memory", f"Quality against memory, {one.task}", peaks, cost=cost, quality=quality))
    times = [
        Point(name=row["method"], cost=_over_seeds(spent), quality=difference_to(row["difference"]), idle=idle(row))
        for row in rows
        if (spent := _seconds(one, row["method"]))
    ]
    if len(times) > 1:
        cost = Axis(name="training time", unit="s", higher_is_better=False, note="95% CI over seeds")
        figures.append(pareto(f"{id}-time", f"Quality against time, {one.task}", times, cost=cost, quality=quality))
    return figures


def first_split(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a task's first split: MNLI's matched half."""
    return [row for row in rows if row["split"] == rows[0]["split"]]


def difference_to(told: dict[str, Any] | None) -> Estimate:
    """In points; the reference itself stands at 0."""
    if told is None:
        return Estimate(value=0.0)
    low, high = (None if end is None else 100 * end for end in (told["low"], told["high"]))
    return Estimate(value=100 * told["mean"], low=low, high=high)


def _seconds(one: Comparison, method: str) -> list[float]:
    """Training and calibration of each run that came to its end."""
    results = [run.record.result for run in one.runs[method] if run.record.result]
    return [result["train_s"] + result.get("calibration_s", 0.0) for result in results]


def _over_seeds(values: Sequence[float]) -> Estimate:
    """Mean with Student's interval; without one from a single seed."""
    mean = fmean(values)
    if len(values) < 2:
        return Estimate(value=mean)
    half = float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / math.sqrt(len(values))
    return Estimate(value=mean, low=mean - half, high=mean + half)
