"""Readings of a model in training: a probe of the one train step that looks at the gradients before the update.

One gradient is looked at in one space at a time, and only its figures and supports (k places) are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from bench.gradients.energy import concentration, core_shares, held_share, histogram
from bench.gradients.pictures import MAP_CELLS, STRIPE_CELLS, patches
from bench.gradients.protocol import Sizes, cores_of
from bench.gradients.spaces import ORIGINAL, ROTATED, SPACES
from bench.gradients.stripes import stripes
from bench.gradients.supports import cover, jaccard, largest, overlap
from sparsegrad import Rotation
from sparsegrad.roles import Target, is_transposed

__all__ = ["Gradients", "Reader", "Rotations", "Supports"]

Rotations = Mapping[str, Mapping[str, Rotation]]
"""Space -> linear -> the rotation into it."""
Supports = Mapping[str, Mapping[str, Tensor]]
"""Space -> linear -> places."""
_OF_PICTURE = ("step", "linear", "role", "block")


class Gradients:
    """A probe (``bench.train``) that hands every target's weight gradient, (out, in), to ``take`` after a backward."""

    def __init__(self, targets: Sequence[Target], take: Callable[[Target, Tensor], None]) -> None:
        self.targets, self.take = targets, take

    def mark(self, phase: str) -> None:
        """See ``train.Probe``."""
        if phase == "backward":
            for target in self.targets:
                gradient = target.weight.grad
                assert gradient is not None
                self.take(target, gradient.T if is_transposed(target.module) else gradient)


class Reader:
    """What is read of each target in each space; ``rows``, ``dy_rows`` and the pictures (by linear) grow.

    ``fixed``, ``fixed_in_core``: the supports chosen at calibration, from the whole matrix and from its core.
    """

    def __init__(
        self, *, sizes: Mapping[str, Sizes], spaces: Rotations, fixed: Supports, fixed_in_core: Supports
    ) -> None:
        self.sizes, self.spaces, self.fixed, self.fixed_in_core = sizes, spaces, fixed, fixed_in_core
        self.rows: list[dict[str, Any]] = []
        self.dy_rows: list[dict[str, Any]] = []
        self.pictures: dict[str, dict[str, Any]] = {}
        self.stripe_pictures: dict[str, dict[str, Any]] = {}
        self._last_seen: dict[tuple[str, str], Tensor] = {}
        self._reading_before: dict[tuple[str, str], Tensor] = {}

    def remember(self, target: Target, g_OI: Tensor) -> None:
        """The supports of a step that is not read, before one that is."""
        for space, rotated in self._rotated(target, g_OI):
            self._last_seen[space, target.name] = largest(rotated, self.sizes[target.name].kept)

    def read(self, step: int, target: Target, g_OI: Tensor, *, drawn: bool) -> None:
        """All figures of one gradient; ``drawn``: also its pictures."""
        for space, rotated in self._rotated(target, g_OI):
            told = {"step": step, "linear": target.name, "role": target.role, "block": target.block, "space": space}
            self.rows.append({**told, **self._figures(space, target.name, rotated)})
            if drawn and space in (ORIGINAL, ROTATED):
                picture = self.pictures.setdefault(target.name, {name: told[name] for name in _OF_PICTURE})
                picture[f"dw_{space}"] = patches(rotated, MAP_CELLS)
                picture[f"histogram_{space}"] = histogram(rotated)

    def read_stripes(self, step: int, target: Target, g_TO: Tensor, mask_T: Tensor | None, *, drawn: bool) -> None:
        """The stripes of one dL/dY; ``drawn``: also its pictures, of the first tokens."""
        rotation = self.spaces[ROTATED][target.name]
        told = {"step": step, "linear": target.name, "role": target.role, "block": target.block}
        self.dy_rows.append({**told, **asdict(stripes(g_TO, rotation, mask_T))})
        if drawn:
            first = g_TO[: STRIPE_CELLS[0]]
            rotated = first if rotation.v is None else first @ rotation.v.T
            self.stripe_pictures[target.name] = {
                **told,
                f"dy_{ORIGINAL}": patches(first, STRIPE_CELLS),
                f"dy_{ROTATED}": patches(rotated, STRIPE_CELLS),
            }

    def _rotated(self, target: Target, g_OI: Tensor) -> Any:
        wide = g_OI.to(torch.promote_types(g_OI.dtype, torch.float32))
        for space, of in self.spaces.items():
            yield space, of[target.name].rotate(wide)

    def _figures(self, space: str, name: str, g_OI: Tensor) -> dict[str, Any]:
        size, fixed, now = self.sizes[name], self.fixed[space][name], largest(g_OI, self.sizes[name].kept)
        # Seen last is the step before, remembered or itself read; the first step has none.
        before, last = self._last_seen.get((space, name)), self._reading_before.get((space, name))
        self._last_seen[space, name] = self._reading_before[space, name] = now
        rotated = SPACES[space].calibration is not None  # rows and columns of the original space have no order
        return {
            **asdict(concentration(g_OI, size.kept)),
            **asdict(cover(now, (size.out, size.inner))),
            "fixed_energy_share": held_share(g_OI, fixed),
            "fixed_in_core_energy_share": held_share(g_OI, self.fixed_in_core[space][name]) if rotated else None,
            "core_energy_shares": core_shares(g_OI, cores_of(size.out, size.inner)) if rotated else None,
            "jaccard_step_before": None if before is None else jaccard(now, before),
            "jaccard_reading_before": None if last is None else jaccard(now, last),
            "jaccard_calibration": jaccard(now, fixed),
            "overlap_calibration": overlap(now, fixed),
        }
