"""Roughly how long a run takes, from shapes alone: what a dry run tells. Nothing is concluded from it."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.request import Request
from bench.workload import Workload
from sparsegrad.roles import find_targets, is_linear, shape_of

__all__ = ["about", "calibration_flops", "prediction_s", "seconds", "step_flops"]

# A process that imports, builds a model and steps; sustained operations a second of one CPU thread and of a GPU.
_START_S = 5.0
_CPU_FLOPS, _CUDA_FLOPS = 4e10, 2e13
# An eigendecomposition of n x n takes about as long as so many times n^3 operations of a product.
_EIGEN = 25
_MODULE_S = 0.025


def step_flops(request: Request, workload: Workload) -> float:
    """Operations of one train step at most: six for each weight of a product and token (2 forward, 4 backward)."""
    tokens = request.batch_size * request.max_length
    weights = [module.weight for module in workload.outline().modules() if is_linear(module)]
    return 6.0 * tokens * sum(weight.numel() for weight in weights if isinstance(weight, Tensor))


def calibration_flops(request: Request, workload: Workload) -> float:
    """Operations of a calibration: its backwards, the Gram matrices of each layer and step, and their bases."""
    found = find_targets(workload.outline(), targets=workload.targets, every=workload.every)
    shapes = [shape_of(target.module) for target in found]
    grams = sum(2.0 * out * inner * (out + inner) for out, inner in shapes)
    bases = sum(_EIGEN * 1.0 * (out**3 + inner**3) for out, inner in shapes)
    return request.calibration_steps * (step_flops(request, workload) + grams) + bases


def prediction_s(workload: Workload) -> float:
    """Seconds of one prediction (two steps on tensors without data): they go with the number of modules, not sizes."""
    return _MODULE_S * len(list(workload.outline().modules()))


def seconds(flops: float, *, processes: int, device: str) -> float:
    """Of so many operations in so many fresh processes, to within a factor of three or so."""
    rate = _CUDA_FLOPS if device.startswith("cuda") else _CPU_FLOPS * torch.get_num_threads()
    return processes * _START_S + flops / rate


def about(amount: float) -> str:
    """'about 40 s', 'about 3 min', 'about 2.5 h': as exact as it is meant."""
    if amount < 90:
        return f"about {amount:.0f} s"
    return f"about {amount / 60:.0f} min" if amount < 5400 else f"about {amount / 3600:.1f} h"
