"""One method's capacity: probes that are looked up or made, the search over them, its record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch

from bench.capacity.probe import LEAST_LENGTH, measured_bytes, predicted_bytes
from bench.capacity.search import Probe, largest
from bench.capacity.speed import settled, timed, untimed
from bench.cells import Desk
from bench.fresh import Outcome, failure, run_fresh
from bench.machine import free_bytes
from bench.models import max_positions
from bench.record import Record, Status
from bench.workload import Workload
from sparsegrad.methods import Method

__all__ = ["MOST", "NOT_ASKED", "Search", "capacity", "longest"]

Find = Literal["batch", "length"]
# Where a search ends that no budget ends.
MOST = 65_536
NOT_ASKED = "nothing was timed: --time times steps at the size found"
# Of no probe's peak: what is looked for, and what the text would be.
_NOT_OF_PROBE = ("methods", "batch_size", "max_length", "lengths", "padding")


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is looked for: ``find``, the other size ``fixed``, the budget, and how a size is tried.

    ``predicts``: on tensors without data; else on the device, out of memory a result. ``times``: whether steps are
    timed at the largest size; ``drift``: what a machine that did not hold still makes of them, "invalid" or a "note".
    """

    find: Find
    fixed: int
    budget_bytes: int
    predicts: bool
    times: bool
    drift: str

    def sizes(self, size: int) -> tuple[int, int]:
        """(batch size, length) where the one looked for is ``size``."""
        return (size, self.fixed) if self.find == "batch" else (self.fixed, size)

    def bounds(self, workload: Workload) -> tuple[int, int, str]:
        """Least and most of the size looked for, and what it is that ends it there."""
        return (1, MOST, "the search") if self.find == "batch" else (LEAST_LENGTH, *longest(workload))

    def config(self, desk: Desk, method: str) -> dict[str, Any]:
        """What the capacity depends on."""
        told = {"find": self.find, "fixed": self.fixed, "budget_bytes": self.budget_bytes}
        return {**self.probe_config(desk, method), **told, "times": self.times, "drift": self.drift}

    def probe_config(self, desk: Desk, method: str) -> dict[str, Any]:
        """What every probe's peak depends on, but its size."""
        return {"method": method, "predicts": self.predicts, **desk.request.config(*_NOT_OF_PROBE)}


def capacity(
    desk: Desk, search: Search, method: Method, calibration: Record | None, told: Callable[[str], None]
) -> Record:
    """The method's ``capacity`` record: the one there is, or a new one.

    Args:
        calibration: of its bases, where steps are really taken; one that failed is the method's own failure.
        told: of each probe as it begins.
    """
    config = search.config(desk, method.name)
    known = desk.known("capacity", config)
    if known is not None:
        return known
    started = datetime.now(UTC)
    if calibration is not None and calibration.status is not Status.OK:
        reason = f"no bases, calibration: {calibration.reason}"
        return desk.file("capacity", config, started, Outcome(status=calibration.status, reason=reason))
    bases = None if calibration is None else desk.bases_file(method)
    probes: dict[int, Record] = {}

    def probe(size: int) -> Probe:
        told(f"{method.name}: {search.find} {size}")
        record = probes[size] = _probe(desk, search, method, bases, size)
        if record.status is Status.OOM and not search.predicts:
            return Probe(size=size, fits=False)
        if record.status is not Status.OK:
            raise _ProbeFailed(record)
        peak = record.result["peak_bytes"]
        return Probe(size=size, fits=peak <= search.budget_bytes, peak_bytes=peak)

    least, most, end = search.bounds(desk.workload)
    try:
        found = largest(probe, search.budget_bytes, least=least, most=most)
    except _ProbeFailed as error:
        outcome = Outcome(status=error.record.status, reason=error.record.reason)
        return desk.file("capacity", config, started, outcome)
    at = None if found.size is None else probes[found.size].result
    peak_bytes = None if at is None else at["peak_bytes"]
    value: dict[str, Any] = {
        "size": found.size,
        "limited_by": end if found.at_limit else "budget",
        "peak_bytes": peak_bytes,
        "peak_phase": None if at is None else at["peak_phase"],
        "least_misfit_bytes": min((p.peak_bytes for p in found.probes if not p.fits and p.peak_bytes), default=None),
        "instrument": "predicted" if search.predicts else "cuda max_memory_allocated",
        "probes": [{"size": p.size, "fits": p.fits, "peak_bytes": p.peak_bytes} for p in found.probes],
    }
    timing = _speed(desk, search, method, bases, found.size, peak_bytes)
    # What was found stands whether or not its steps could be timed; the rerun finds the probes and times again.
    return desk.file("capacity", config, started, replace(timing, value=value | timing.value))


def longest(workload: Workload) -> tuple[int, str]:
    """The most tokens an input can have, and why: the model's positions, or where it names none the search's end."""
    positions = max_positions(workload.outline().config)  # type: ignore[arg-type]
    return (MOST, "the search") if positions is None else (positions, "positions")


class _ProbeFailed(Exception):
    def __init__(self, record: Record) -> None:
        super().__init__(record.reason)
        self.record = record


def _probe(desk: Desk, search: Search, method: Method, bases: Path | None, size: int) -> Record:
    """A size's record. Predicted here, since nothing is allocated; measured in a fresh process."""
    batch_size, length = search.sizes(size)
    config = {**search.probe_config(desk, method.name), "batch_size": batch_size, "max_length": length}
    known = desk.known("capacity_probe", config)
    if known is not None:
        return known
    started = datetime.now(UTC)
    if search.predicts:
        try:
            value = predicted_bytes(desk.request, method.name, batch_size, length)
            outcome = Outcome(status=Status.OK, value=value)
        except Exception as error:  # whatever befalls one method is its record; the others go on
            outcome = failure(error)
    else:
        outcome = run_fresh(measured_bytes, desk.request, method.name, bases, batch_size, length)
    return desk.file("capacity_probe", config, started, outcome)


def _speed(
    desk: Desk, search: Search, method: Method, bases: Path | None, size: int | None, peak: int | None
) -> Outcome:
    """Steps at the largest size, timed in a fresh process, or why they were not."""
    if size is None or peak is None:
        return untimed("nothing fits")
    if not search.times:
        return untimed(NOT_ASKED)
    if torch.device(desk.request.device).type == "cpu" and peak > (free := free_bytes()):
        return untimed(f"{peak:,} bytes needed, {free:,} free on this machine")
    outcome = run_fresh(timed, desk.request, method.name, bases, *search.sizes(size))
    return settled(outcome, method.name, search.drift)
