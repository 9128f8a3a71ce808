"""Equal budgets: the LoRA rank that costs what the kept entries cost."""

from __future__ import annotations

from bench.models import ModelSource
from sparsegrad.roles import find_targets, shape_of
from sparsegrad.support import resolve_kept

__all__ = ["entries_and_sides", "equal_rank"]


def entries_and_sides(source: ModelSource, kept: int | float) -> tuple[int, int]:
    """Over all tuned linears: entries kept a step, and the sum of in + out, which is what one rank of LoRA costs.

    Raises SparseGradError where a layer has fewer entries than are to be kept.
    """
    preset = source.preset
    targets = preset.targets if preset else None
    found = find_targets(source.outline(), targets=targets, every=preset.every if preset else 1)
    shapes = [(target.name, *shape_of(target.module)) for target in found]
    entries = sum(resolve_kept(kept, out * inner, layer=name) for name, out, inner in shapes)
    return entries, sum(out + inner for _, out, inner in shapes)


def equal_rank(source: ModelSource, kept: int | float) -> int:
    """The rank, 1 or more, whose parameters are nearest in number to the entries that are kept a step."""
    entries, sides = entries_and_sides(source, kept)
    return max(1, round(entries / sides))
