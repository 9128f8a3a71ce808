"""Gradient norm and clipping where some gradients are COO, which torch's clip_grad_norm_ refuses."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from .errors import SparseGradError
from .selection import dropped_by


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale gradients in place so that their joint norm is at most ``max_norm``; returns the norm before, 0-d.

    torch.nn.utils.clip_grad_norm_ for dense and COO gradients together: a COO gradient's norm is that of its values.
    What accumulation holds back is scaled along, so that a later micro-batch adds to the same sum; ``max_norm=inf``
    only measures.

    Raises:
        SparseGradError: the norm is not finite and ``error_if_nonfinite``.
    """
    owners = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    values = [_values(p) for p in owners if p.grad is not None]
    total = torch.nn.utils.get_total_norm(values, norm_type, error_if_nonfinite=False)
    if error_if_nonfinite and not torch.isfinite(total):
        raise SparseGradError(f"the gradient norm is {total.item()}: it cannot be clipped")
    if max_norm != float("inf"):
        scale = torch.clamp(max_norm / (total + 1e-6), max=1.0)  # torch's own guard against a zero norm
        for value in (*values, *(left for p in owners if (left := dropped_by(p)) is not None)):
            value.mul_(scale.to(value.device, value.dtype))
    return total


def _values(parameter: Tensor) -> Tensor:
    """The gradient's stored values, as a tensor whose change changes the gradient."""
    assert parameter.grad is not None
    if not parameter.grad.is_sparse:
        return parameter.grad.detach()
    if not parameter.grad.is_coalesced():  # an uncoalesced norm would count a doubled entry twice
        parameter.grad = parameter.grad.coalesce()
    return parameter.grad._values().detach()
