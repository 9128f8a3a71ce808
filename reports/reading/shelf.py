"""Everything that the folders hold, sorted by kind: what a report is made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from bench.record import Record, Status
from reports.reading.calibrations import Calibration, read_calibration
from reports.reading.capacity import CapacityGroup, group_capacities, read_capacity
from reports.reading.chat import ChatComparison, chat_comparisons, read_chat
from reports.reading.compared import Compared, read_compared
from reports.reading.crossover import CrossoverGrid, group_cells, read_cell
from reports.reading.fields import Unreadable
from reports.reading.folders import Skipped, Source, read_folders
from reports.reading.gradients import GradientRun, read_gradients
from reports.reading.judge_checks import JudgeCheck, read_judge_check
from reports.reading.judged import JudgedRun, read_judged
from reports.reading.memory import PeakGroup, group_peaks, read_peak
from reports.reading.preliminary import Preliminary, read_preliminary
from reports.reading.quality import Comparison, QualityRun, comparisons, read_quality
from reports.reading.restated import restated
from reports.reading.speed import SpeedRun, read_speed
from reports.reading.sweep import Sweep, read_sweep

__all__ = ["PARTS", "Shelf", "read_shelf"]

T = TypeVar("T")
PARTS: Mapping[str, str] = MappingProxyType(
    {
        "capacity_probe": "one size tried by bench.capacity",
        "energy": "what one level of bench.sparsity keeps of the gradient",
        "glue_pilot": "updates timed by eval.glue --budget time",
        "glue_trial": "one trial of a search for rate and batch",
        "gradients_bases": "bases that bench.gradients looks at gradients in",
        "gradients_supports": "fixed supports that bench.gradients reads gradients on",
        "peak": "one level's peak, in bench.sparsity's own table",
    }
)
"""Kinds whose records another record is made of, and what they are."""


@dataclass
class Shelf:
    """Typed views by kind, newest first; ``sources`` has every readable record once."""

    sources: list[Source] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    failed: list[Source] = field(default_factory=list)
    """Records whose run came to no row: out of memory, error, interrupted."""
    speed: list[SpeedRun] = field(default_factory=list)
    peaks: list[PeakGroup] = field(default_factory=list)
    capacities: list[CapacityGroup] = field(default_factory=list)
    calibrations: list[Calibration] = field(default_factory=list)
    preliminary: list[Preliminary] = field(default_factory=list)
    quality: list[Comparison] = field(default_factory=list)
    trials: list[QualityRun] = field(default_factory=list)
    compared: list[Compared] = field(default_factory=list)
    """Whole commands of eval.glue, as they were filed."""
    gradients: list[GradientRun] = field(default_factory=list)
    sparsity: list[SpeedRun] = field(default_factory=list)
    """Cost against kept entries: interleaved runs whose rows are levels of one method."""
    crossover: list[CrossoverGrid] = field(default_factory=list)
    chat: list[ChatComparison] = field(default_factory=list)
    sweeps: list[Sweep] = field(default_factory=list)
    """Quality against kept entries."""
    judged: list[JudgedRun] = field(default_factory=list)
    judge_checks: list[JudgeCheck] = field(default_factory=list)
    parts: list[Source] = field(default_factory=list)
    """Of kinds that another record is made of: ``PARTS``."""
    others: list[Source] = field(default_factory=list)
    """Of kinds that have no table of their own: listed with their key figures."""

    def of_kind(self, *kinds: str) -> list[Source]:
        """The ok records of these kinds, newest first."""
        found = [s for s in self.sources if s.record.kind in kinds and s.record.status is Status.OK]
        return sorted(found, key=lambda source: source.record.ended, reverse=True)


def read_shelf(folders: Iterable[Path]) -> Shelf:
    """Read, check and sort; BadRequest for a folder that is not there."""
    sources, skipped = read_folders(folders)
    shelf = Shelf(skipped=skipped)
    by_kind: dict[str, list[Source]] = {}
    for source in _once(sources):
        by_kind.setdefault(source.record.kind, []).append(source)

    def views(
        kinds: tuple[str, ...], read: Callable[[Source], T], *, failed_too: bool = False, stands: str = "rows"
    ) -> list[T]:
        """The views of these kinds; what is unreadable is listed, what failed is set apart.

        ``stands``: the part of a result that counts though the run did not end well.
        """
        made: list[T] = []
        for source in (source for kind in kinds for source in by_kind.pop(kind, [])):
            if not failed_too and source.record.status is not Status.OK and stands not in source.record.result:
                shelf.failed.append(source)
                shelf.sources.append(source)
                continue
            try:
                made.append(read(source))
            except Unreadable as error:
                path = f"{source.folder}/{source.record.kind}/{source.record.key}"
                shelf.skipped.append(Skipped(path=path, reason=str(error)))
                continue
            shelf.sources.append(source)
        return made

    shelf.speed = sorted(views(("speed",), read_speed), key=lambda run: run.record.ended, reverse=True)
    peaks = views(("peak", "predicted"), read_peak)
    shelf.peaks = group_peaks([peak for peak in peaks if not _of_a_level(peak.record)])
    shelf.capacities = group_capacities(views(("capacity",), read_capacity, stands="size"))
    shelf.calibrations = views(("calibration", "glue_calibration", "chat_calibration"), read_calibration)
    shelf.preliminary = views(("preliminary",), read_preliminary)
    runs = views(("glue",), read_quality, failed_too=True)
    for one in comparisons(runs):
        try:
            one.rows(one.reference())
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            told = f"the runs of {one.task} cannot be compared: {type(error).__name__}: {error}"
            shelf.skipped.append(Skipped(path=f"{one.task}/{one.record.key}", reason=told[:300]))
            continue
        shelf.quality.append(one)
    shelf.trials = [run for run in runs if run.held_out is not None]

    def again(source: Source) -> dict[str, Any] | None:
        return restated(source.record, runs, shelf.quality)

    shelf.compared = views(("glue_comparison",), lambda source: read_compared(source, again(source)))
    shelf.gradients = views(("gradients",), read_gradients)
    shelf.sparsity = views(("sparsity",), read_speed)
    shelf.crossover = group_cells(views(("crossover",), read_cell, stands="ways"))
    chats = views(("chat",), read_chat)
    try:
        shelf.chat = chat_comparisons(chats)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        reason = f"cannot be compared: {type(error).__name__}: {error}"[:300]
        shelf.skipped += [Skipped(path=f"{run.source.folder}/chat/{run.record.key}", reason=reason) for run in chats]
    shelf.sweeps = views(("sparsity_quality",), lambda source: read_sweep(source, again(source)))
    shelf.judged = sorted(views(("mtbench",), read_judged), key=lambda run: run.record.ended, reverse=True)
    shelf.judge_checks = views(("mtbench_calibration",), read_judge_check)
    shelf.parts = views(tuple(PARTS), lambda source: source)
    shelf.parts += [peak.source for peak in peaks if _of_a_level(peak.record)]
    shelf.others = views(tuple(by_kind), lambda source: source)
    return shelf


def _of_a_level(record: Record) -> bool:
    """Peaks of a sweep differ in the entries kept, and stand beside each other in its table alone."""
    return record.kind == "peak" and " -m bench.sparsity " in f"{record.command} "


def _once(sources: list[Source]) -> list[Source]:
    """A record that lies in two of the folders is one record."""
    seen: set[tuple[str, str, str, str]] = set()
    found = []
    for source in sources:
        record = source.record
        name = (record.kind, record.key, record.started, record.ended)
        if name not in seen:
            seen.add(name)
            found.append(source)
    return found
