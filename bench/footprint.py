"""The memory of a train step as a record tells it: the highest points, what they consist of, and whether it leaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.attribution import Attribution, leak_bytes_per_step
from bench.peak import CudaPeak, PeakReading
from bench.train import finite, train_step
from sparsegrad.dataless import is_dataless
from sparsegrad.methods import Prepared

__all__ = ["footprint", "stepped"]


def stepped(
    prepared: Prepared, batch: Mapping[str, Tensor], steps: int, instrument: Attribution | CudaPeak
) -> PeakReading:
    """What the instrument reads of so many train steps on one batch; LossNotFinite as ``footprint``."""
    with instrument:
        for _ in range(steps):
            loss = train_step(prepared, batch, instrument)
    if not is_dataless(loss):
        finite(loss)
    return instrument.read()


def footprint(
    prepared: Prepared, batch: Mapping[str, Tensor], steps: int, *, allocator: torch.device | None = None
) -> dict[str, Any]:
    """Take ``steps`` train steps on one batch and tell their memory, JSON types (see ``PeakReading``, ``Attribution``).

    The first step makes the optimizer's state, the second peaks with it, later ones tell whether memory grows.

    Args:
        allocator: a CUDA device, whose allocator's statistics are then the peak; what memory consists of is read by
            the tracked instrument in one step more, since the allocator does not know what it holds.
    Raises:
        LossNotFinite: what is measured would be of nothing.
    """
    what = Attribution(prepared, batch)
    reading = stepped(prepared, batch, steps, what if allocator is None else CudaPeak(allocator))
    if allocator is not None:
        stepped(prepared, batch, 1, what)
    return {
        "trainable_parameters": prepared.trainable_parameters,
        "updated_parameters": prepared.updated_parameters,
        "adapter_bytes": prepared.adapter_bytes,
        "steps": steps,
        **reading.as_json(),
        "leak_bytes_per_step": leak_bytes_per_step(reading.live_after_step_bytes),
        **what.told(),
    }
