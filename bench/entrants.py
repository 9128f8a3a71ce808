"""Who takes part in a comparison: a prepared model a method, the baseline twice, parked where they do not fit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch

from bench.cells import Desk
from bench.machine import free_bytes
from bench.record import Record, Status
from bench.rows import BASELINE, SECOND_BASELINE
from bench.timing import Contestant, place
from bench.train import to_device, zero_rows
from sparsegrad import Bases
from sparsegrad.methods import Method
from sparsegrad.roles import find_targets

_ZERO_ROW_BATCHES = 4


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row: a name of its own, the method, and the desk whose request says how it trains."""

    name: str
    method: Method
    desk: Desk


def enter(
    entries: Sequence[Entry], calibrations: Mapping[str, Record], peaks: Mapping[str, Record]
) -> list[Contestant]:
    """A contestant an entry, the baseline among them, then its twin. One that cannot be made enters as failed, with its
    reason. ``calibrations`` and ``peaks``: by the entries' names."""
    (baseline,) = (entry for entry in entries if entry.name == BASELINE)
    device = baseline.desk.request.place()
    park = not fit_together(peaks, device)
    load = cache(Bases.load)  # methods share a file
    contestants = []
    for entry in (*entries, replace(baseline, name=SECOND_BASELINE)):
        known = BASELINE if entry.name == SECOND_BASELINE else entry.name
        # A parked model waits on the host: about what it needs at its peak, activations left out of neither.
        need = peaks[known].result.get("peak_bytes", 0) if park else 0
        if need > (free := free_bytes()):
            contestant = Contestant(name=entry.name, device=device)
            contestant.fail(Status.OOM, f"{need:,} bytes to park the model on the host, {free:,} free: fewer --methods")
        else:
            contestant = _prepared(entry.desk, entry.name, entry.method, calibrations.get(known), load, park)
        contestants.append(contestant)
    return contestants


def _prepared(
    desk: Desk, name: str, method: Method, calibration: Record | None, load: Callable[[Path], Bases], park: bool
) -> Contestant:
    contestant = Contestant(name=name, device=desk.request.place(), park=park, seed=desk.request.seed)
    if calibration is not None and calibration.status is not Status.OK:
        contestant.fail(calibration.status, f"no bases, calibration: {calibration.reason}")
        return contestant
    try:
        file = desk.bases_file(method)
        bases = None if file is None else load(file)
        model = desk.request.fresh_model(desk.workload)
        _wait_for(contestant.device)
        started = time.perf_counter()
        contestant.prepared = desk.request.prepare(method, model, desk.workload, bases)
        _wait_for(contestant.device)
        contestant.convert_s = time.perf_counter() - started
        if park:
            place(contestant.prepared, torch.device("cpu"))
    except Exception as error:  # whatever befalls one method is a row of the table; the others go on
        contestant.fail_with(error)
    return contestant


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def zero_row_share(desk: Desk, twin: Contestant) -> float | None:
    """Share of exactly zero rows in dL/dy of the tuned linears, over some batches, seen in the baseline's twin."""
    if twin.failure is not None:
        return None
    workload, device = desk.workload, desk.request.place()
    try:
        if twin.park:
            place(twin.prepared, device)
        found = find_targets(twin.prepared.model, targets=workload.targets, every=workload.every)
        modules = [target.module for target in found]
        batches = [to_device(batch, device) for batch in workload.batches[:_ZERO_ROW_BATCHES]]
        counts = [zero_rows(twin.prepared.model, modules, batch) for batch in batches]
        if twin.park:
            place(twin.prepared, torch.device("cpu"))
    except Exception as error:
        twin.fail_with(error)
        return None
    return sum(c["zero"] for c in counts) / sum(c["all"] for c in counts)


def fit_together(peaks: Mapping[str, Record], device: torch.device) -> bool:
    """Whether all models may stay on the GPU: their peaks, the largest twice, sum to 90% of what is free or less."""
    if device.type != "cuda":
        return True
    known = [record.result["peak_bytes"] for record in peaks.values() if record.status is Status.OK]
    free, _ = torch.cuda.mem_get_info(device)
    return sum(known) + max(known, default=0) < 0.9 * free
