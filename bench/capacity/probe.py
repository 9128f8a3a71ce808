"""One size tried: a train step of a full batch of that size, predicted or measured."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from bench.attribution import Attribution
from bench.batches import Batch
from bench.footprint import stepped
from bench.lengths import LengthLaw
from bench.peak import CudaPeak
from bench.predict import predict_peak
from bench.request import Request
from bench.train import to_device
from bench.workload import Workload
from sparsegrad import Bases
from sparsegrad.methods import METHODS, Prepared

__all__ = ["LEAST_LENGTH", "filled", "full_rows", "measured_bytes", "predicted_bytes", "set_up"]

LEAST_LENGTH = 4
_STEPS = 2  # the first makes the optimizer's state, the second peaks with it


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


def set_up(request: Request, method: str, workload: Workload, bases: Path | None) -> Prepared:
    """The method in a fresh model on the device; ``bases``: the file of them, None where it needs none."""
    loaded = None if bases is None else Bases.load(bases)
    return request.prepare(METHODS[method], request.fresh_model(workload), workload, loaded)


def measured_bytes(request: Request, method: str, bases: Path | None, batch_size: int, length: int) -> dict[str, Any]:
    """The allocator's peak on CUDA, else the tracked one; runs in a fresh process, whose running out of memory is the
    answer."""
    workload, batch = filled(request, batch_size, length)
    device = request.place()
    prepared = set_up(request, method, workload, bases)
    batch = to_device(batch, device)
    # On CUDA the steps alone: telling what they consist of takes one more, which the last size that fits may not bear.
    instrument = CudaPeak(device) if device.type == "cuda" else Attribution(prepared, batch)
    told = stepped(prepared, batch, _STEPS, instrument)
    return {"instrument": told.instrument, "peak_bytes": told.peak_bytes, "peak_phase": told.peak_phase}
