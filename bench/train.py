"""The one train step that every method is measured by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sparsegrad.methods import Prepared

PHASES = ("forward", "backward", "optimizer")


class Probe(Protocol):
    """Something that wants to know when a phase of the step is over."""

    def mark(self, phase: str) -> None:
        """``phase`` (one of PHASES, or "start") ends now."""


class LossNotFinite(RuntimeError):
    """Training went astray; a measurement of it would be of nothing."""


def train_step(prepared: Prepared, batch: Mapping[str, Tensor], *probes: Probe) -> Tensor:
    """Forward, backward, optimizer step and zero_grad on one batch; returns the loss, detached, on its device."""
    for probe in probes:
        probe.mark("start")
    loss: Tensor = prepared.model(**batch).loss
    for probe in probes:
        probe.mark("forward")
    loss.backward()
    for probe in probes:
        probe.mark("backward")
    if prepared.optimizer is not None:
        prepared.optimizer.step()
    prepared.model.zero_grad(set_to_none=True)
    for probe in probes:
        probe.mark("optimizer")
    return loss.detach()


def finite(loss: Tensor) -> float:
    """The loss as a number; LossNotFinite where it is none."""
    value = float(loss)
    if not math.isfinite(value):
        raise LossNotFinite(f"the loss is {value}: lower --lr, or use --dtype fp32")
    return value


def zero_rows(model: nn.Module, modules: list[nn.Module], batch: Mapping[str, Tensor]) -> dict[str, int]:
    """Rows of dL/dy of these linears in one backward: ``{"zero": ..., "all": ...}``; leaves no gradient behind.

    Zero means exactly zero in every column: what sparse-by-dense leaves out.
    """
    counts = {"zero": 0, "all": 0}

    def count(g: Tensor) -> None:
        rows = (g.reshape(-1, g.shape[-1]) == 0).all(dim=1)
        counts["zero"] += int(rows.sum())
        counts["all"] += len(rows)

    def watch(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        output.register_hook(count)

    handles = [module.register_forward_hook(watch) for module in modules]
    try:
        model(**batch).loss.backward()
    finally:
        for handle in handles:
            handle.remove()
        model.zero_grad(set_to_none=True)
    return counts


def real_tokens(batch: Mapping[str, Tensor]) -> int:
    """Tokens of the batch that are not padding."""
    mask = batch.get("attention_mask")
    return int(batch["input_ids"].numel() if mask is None else mask.sum())


def to_device(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The batch on the device."""
    return {name: tensor.to(device) for name, tensor in batch.items()}
