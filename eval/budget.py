"""Equal budgets: the LoRA rank that costs what the kept entries cost."""

from __future__ import annotations

from bench.models import ModelSource
from sparsegrad.roles import find_targets, shape_of
from sparsegrad.support import resolve_kept

__all__ = ["equal_rank"]


def equal_rank(source: ModelSource, kept: int | float) -> int:
    """The rank, 1 or more, whose parameters are nearest in number to the entries that are kept a step.

    Over all tuned linears: sum of r (in + out) against sum of k. Raises SparseGradError where a layer has fewer entries
    than are to be kept.
    """
    preset = source.preset
    targets = preset.targets if preset else None
    found = find_targets(source.outline(), targets=targets, every=preset.every if preset else 1)
    shapes = [(target.name, *shape_of(target.module)) for target in found]
    entries = sum(resolve_kept(kept, out * inner, layer=name) for name, out, inner in shapes)
    return max(1, round(entries / sum(out + inner for _, out, inner in shapes)))
