"""One size tried: a train step of a full batch of that size, predicted or measured; and timed at the largest."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from bench.batches import Batch
from bench.footprint import footprint
from bench.lengths import LengthLaw
from bench.predict import predict_peak
from bench.request import Request
from bench.timing import Stopwatch
from bench.train import finite, to_device, train_step
from bench.workload import Workload
from sparsegrad import Bases
from sparsegrad.methods import METHODS

__all__ = ["LEAST_LENGTH", "full_rows", "measured_bytes", "predicted_bytes", "timed"]

LEAST_LENGTH = 4
_STEPS = 2  # the first makes the optimizer's state, the second peaks with it
_WARMUP, _TIMED = 1, 3


def full_rows(request: Request, length: int) -> Request:
    """The request for rows of ``length`` tokens, one of them padding: a batch without any loses its attention mask,
    which the batches of a training run have."""
    law = LengthLaw(kind="fixed", median_tokens=length - 1, sigma=0.0)
    return replace(request, max_length=length, lengths=law, padding="max")


@cache
def _workload(request: Request) -> Workload:
    return request.workload()


def filled(request: Request, batch_size: int, length: int) -> tuple[Workload, Batch]:
    """The workload of that length and a batch of that size; its rows come round again where they are more than made."""
    workload = _workload(replace(full_rows(request, length), batch_size=1))
    rows = {name: torch.cat([made[name] for made in workload.batches]) for name in workload.batches[0]}
    batch = {name: tensor[torch.arange(batch_size) % len(tensor)] for name, tensor in rows.items()}
    return workload, batch


def predicted_bytes(request: Request, method: str, batch_size: int, length: int) -> dict[str, Any]:
    """The peak on tensors without data."""
    workload, batch = filled(request, batch_size, length)
    told = predict_peak(request, METHODS[method], workload, batch)
    return {name: told[name] for name in ("instrument", "peak_bytes", "peak_phase")}


def measured_bytes(request: Request, method: str, bases: Path | None, batch_size: int, length: int) -> dict[str, Any]:
    """The allocator's peak on CUDA; runs in a fresh process, whose running out of memory is the answer."""
    workload, batch = filled(request, batch_size, length)
    device = request.place()
    prepared = request.prepare(METHODS[method], request.fresh_model(workload), workload, _bases(bases))
    told = footprint(prepared, to_device(batch, device), _STEPS, allocator=device)
    return {name: told[name] for name in ("instrument", "peak_bytes", "peak_phase")}


def timed(request: Request, method: str, bases: Path | None, batch_size: int, length: int) -> dict[str, Any]:
    """Milliseconds of a few steps; runs in a fresh process."""
    workload, batch = filled(request, batch_size, length)
    device = request.place()
    prepared = request.prepare(METHODS[method], request.fresh_model(workload), workload, _bases(bases))
    watch, batch = Stopwatch(device), to_device(batch, device)
    laps = []
    for _ in range(_WARMUP + _TIMED):
        loss = train_step(prepared, batch, watch)
        laps.append(sum(watch.read_ms().values()))
    finite(loss)
    samples = laps[_WARMUP:]
    return {"samples_ms": samples, "steps_per_s": 1e3 / fmean(samples)}


def _bases(path: Path | None) -> Bases | None:
    return None if path is None else Bases.load(path)
