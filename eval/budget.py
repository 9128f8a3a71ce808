"""Equal budgets: the rank at which LoRA and its kin cost what SparseGrad costs, in numbers that train or in bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch

from bench.models import ModelSource
from bench.predict import bases_outline
from sparsegrad.core import check_core
from sparsegrad.methods import METHODS, Method, Prepared, Settings
from sparsegrad.roles import find_targets, shape_of
from sparsegrad.support import resolve_kept

__all__ = ["Measure", "equal_rank", "kept_entries"]

Measure = Literal["params", "bytes"]


def kept_entries(source: ModelSource, settings: Settings) -> int:
    """Entries kept a step over all tuned linears.

    Raises SparseGradError where a layer has fewer entries than are to be kept, or no room for the core.
    """
    found = find_targets(source.outline(), targets=settings.targets, every=settings.every)
    entries = 0
    for target in found:
        out, inner = shape_of(target.module)
        kept = resolve_kept(settings.kept, out * inner, layer=target.name)
        if settings.core is not None:
            check_core(settings.core, kept, out, inner, layer=target.name)
        entries += kept
    return entries


def equal_rank(
    source: ModelSource, method: Method, settings: Settings, measure: Measure, dtype: torch.dtype = torch.float32
) -> int | None:
    """The rank, 1 or more, at which ``method`` comes nearest to SparseGrad's cost; None where no rank changes its cost.

    "params": numbers that train, against the entries kept a step. "bytes": of the adapter's file, against that of
    compact SparseGrad (its values, their places, and the slices of the bases that they are read in).

    Both costs of a rank are straight lines through it, and a classification head costs every method the same: what one
    more rank costs is read off the model's outline at ranks 1 and 2.
    """
    if method.basis is not None:
        return None
    one, two = (_outlined(source, method, replace(settings, lora_rank=rank), dtype) for rank in (1, 2))
    if measure == "params":
        goal, step = kept_entries(source, settings), two.trainable_parameters - one.trainable_parameters
    else:
        compact = next(known for known in METHODS.values() if known.fixed)
        goal, step = _outlined(source, compact, settings, dtype).adapter_bytes, two.adapter_bytes - one.adapter_bytes
    return max(1, round(goal / step)) if step else None


def _outlined(source: ModelSource, method: Method, settings: Settings, dtype: torch.dtype) -> Prepared:
    """The method in the model's outline: its counts are those of the model, its tensors have no data."""
    outline = source.outline().to(dtype)
    try:
        return method.prepare(outline, settings, bases_outline(method, outline, settings))
    except NotImplementedError:  # SHiRA draws its places by value: memory that nobody has written to will do
        return method.prepare(source.outline().to(dtype).to_empty(device="cpu"), settings)
