"""Everything that the folders hold, sorted by kind: what a report is made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from bench.record import Status
from reports.reading.calibrations import Calibration, read_calibration
from reports.reading.chat import ChatComparison, chat_comparisons, read_chat
from reports.reading.fields import Unreadable
from reports.reading.folders import Skipped, Source, read_folders
from reports.reading.gradients import GradientRun, read_gradients
from reports.reading.judged import JudgedRun, read_judged
from reports.reading.memory import PeakGroup, group_peaks, read_peak
from reports.reading.quality import Comparison, QualityRun, comparisons, read_quality
from reports.reading.speed import SpeedRun, read_speed
from reports.reading.sweep import Sweep, read_sweep

__all__ = ["Shelf", "read_shelf"]

T = TypeVar("T")


@dataclass
class Shelf:
    """Typed views by kind, newest first; ``sources`` has every readable record once."""

    sources: list[Source] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    failed: list[Source] = field(default_factory=list)
    """Records whose run came to no row: out of memory, error, interrupted."""
    speed: list[SpeedRun] = field(default_factory=list)
    peaks: list[PeakGroup] = field(default_factory=list)
    calibrations: list[Calibration] = field(default_factory=list)
    quality: list[Comparison] = field(default_factory=list)
    trials: list[QualityRun] = field(default_factory=list)
    gradients: list[GradientRun] = field(default_factory=list)
    sparsity: list[SpeedRun] = field(default_factory=list)
    """Cost against kept entries: interleaved runs whose rows are levels of one method."""
    chat: list[ChatComparison] = field(default_factory=list)
    sweeps: list[Sweep] = field(default_factory=list)
    """Quality against kept entries."""
    judged: list[JudgedRun] = field(default_factory=list)
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

    def views(kinds: tuple[str, ...], read: Callable[[Source], T], *, failed_too: bool = False) -> list[T]:
        """The views of these kinds; what is unreadable is listed, what failed is set apart."""
        made: list[T] = []
        for source in (source for kind in kinds for source in by_kind.pop(kind, [])):
            if not failed_too and source.record.status is not Status.OK and "rows" not in source.record.result:
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
    shelf.peaks = group_peaks(views(("peak", "predicted"), read_peak))
    shelf.calibrations = views(("calibration", "glue_calibration"), read_calibration)
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
    shelf.gradients = views(("gradients",), read_gradients)
    shelf.sparsity = views(("sparsity",), read_speed)
    chats = views(("chat",), read_chat)
    try:
        shelf.chat = chat_comparisons(chats)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        reason = f"cannot be compared: {type(error).__name__}: {error}"[:300]
        shelf.skipped += [Skipped(path=f"{run.source.folder}/chat/{run.record.key}", reason=reason) for run in chats]
    shelf.sweeps = views(("sparsity_quality",), read_sweep)
    shelf.judged = views(("mtbench",), read_judged)
    shelf.others = views(tuple(by_kind), lambda source: source)
    return shelf


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
