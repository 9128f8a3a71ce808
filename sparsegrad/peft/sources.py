"""Where a new adapter's slices and entries come from: calibrated bases, a seeded draw, or a file yet to be loaded."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ..bases import Bases
from ..core import Core, check_core, default_core, strongest
from ..errors import BasesMismatch
from ..roles import Target, find_targets, is_linear, shape_of, weight_of
from ..support import resolve_kept
from .config import SparseGradConfig


@dataclass(frozen=True, kw_only=True)
class Support:
    """One layer's: ``u`` (c, in) and ``v`` (r, out) in the weight's dtype, ``indices`` (k,) int32, ascending, row * c
    + column. Of one device."""

    u: Tensor
    v: Tensor
    indices: Tensor


class Source(Protocol):
    """How the layers of one adapter get their ``Support``."""

    def names(self, model: nn.Module) -> list[str]:
        """The linears to adapt where the user names none."""

    def check(self, model: nn.Module, linears: Mapping[str, nn.Module]) -> None:
        """SparseGradError where ``support`` could not be given for one of these linears."""

    def support(self, name: str, linear: nn.Module) -> Support:
        """For one linear, by its qualified name."""


def source_of(config: SparseGradConfig, *, awaits_file: bool) -> Source:
    """The source a configuration asks for; ``awaits_file``: everything will be loaded over it.

    Raises:
        BasesMismatch: ``config.bases`` is no bases file.
    """
    if config.bases is not None and not awaits_file:
        return Calibrated(config, Bases.load(config.bases))
    return Drawn(config, blank=awaits_file)


def sizes(config: SparseGradConfig, name: str, linear: nn.Module) -> tuple[int, Core]:
    """How many entries of a linear live, and its core; SparseGradError where they do not fit it."""
    out, inner = shape_of(linear)
    entries = resolve_kept(config.kept, out * inner, layer=name)
    core = config.core or default_core(entries, out, inner)
    return entries, check_core(core, entries, out, inner, layer=name)


def mlp_names(model: nn.Module) -> list[str]:
    """The MLP linears by structure, by the names they have without adapters."""
    return [plain_name(target.name) for target in find_targets(model)]


def plain_name(name: str) -> str:
    """A linear's name without the levels that adapters put above it."""
    return re.sub(r"\.base_layer(?=\.|$)", "", name)


class Calibrated:
    """Slices of calibrated bases, and the entries with the most calibration energy."""

    def __init__(self, config: SparseGradConfig, bases: Bases) -> None:
        self.config, self.bases = config, bases

    def names(self, model: nn.Module) -> list[str]:
        """The linears the bases were made for."""
        return list(self.bases.layers)

    def check(self, model: nn.Module, linears: Mapping[str, nn.Module]) -> None:
        """The bases are this model's, and hold a core for each of these linears."""
        modules = {plain_name(name): module for name, module in model.named_modules() if is_linear(module)}
        held = [self._target(name, modules[name]) for name in self.bases.layers if name in modules]
        self.bases.check_model(type(model).__name__, held)
        for name, linear in linears.items():
            if name not in self.bases.layers:
                raise BasesMismatch(f"no basis for {name}: calibrate with targets= that find it, or leave it out")
            self.support(name, linear)

    def support(self, name: str, linear: nn.Module) -> Support:
        """As ``convert(support="fixed")`` chooses it."""
        entries, core = sizes(self.config, name, linear)
        rows, cols = core
        slices = self.bases.slices({name: (self._target(name, linear), core)})[name]
        places = strongest(self.bases.energies[name][:rows, :cols], entries)
        return Support(u=slices.u, v=slices.v, indices=places.to(slices.u.device))

    def _target(self, name: str, linear: nn.Module) -> Target:
        return Target(name=name, module=linear, role=self.bases.layers[name][0], block=0)


class Drawn:
    """Random orthonormal rows and a random choice of entries, by seed and name: the same on every rank and device.

    ``blank``: zeros of the same sizes instead, to be loaded over.
    """

    def __init__(self, config: SparseGradConfig, *, blank: bool) -> None:
        self.config, self.blank = config, blank

    def names(self, model: nn.Module) -> list[str]:
        """The MLP linears, found by structure."""
        return mlp_names(model)

    def check(self, model: nn.Module, linears: Mapping[str, nn.Module]) -> None:
        """``kept`` and ``core`` fit each of these linears."""
        for name, linear in linears.items():
            sizes(self.config, name, linear)

    def support(self, name: str, linear: nn.Module) -> Support:
        """A draw of its own for each name."""
        entries, (rows, cols) = sizes(self.config, name, linear)
        (out, inner), weight = shape_of(linear), weight_of(linear)
        if self.blank:
            u, v = weight.new_zeros(cols, inner), weight.new_zeros(rows, out)
            return Support(u=u, v=v, indices=torch.zeros(entries, dtype=torch.int32, device=weight.device))
        digest = hashlib.sha256(f"{self.config.seed}/{name}".encode()).digest()
        chance = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big"))
        u, v = orthonormal_rows(cols, inner, chance).to(weight), orthonormal_rows(rows, out, chance).to(weight)
        places = torch.randperm(rows * cols, generator=chance)[:entries].sort().values
        return Support(u=u, v=v, indices=places.to(weight.device, torch.int32))


def orthonormal_rows(count: int, size: int, chance: torch.Generator) -> Tensor:
    """``count`` random rows of a cosine transform whose columns have random signs: (count, size) float64.

    Exactly orthonormal and spread over all coordinates like a uniform draw (Halko, Martinsson and Tropp 2011, section
    4.6), for count * size cosines; a factorisation would cost that times count.
    """
    signs = torch.randint(0, 2, (size,), generator=chance).double() * 2 - 1
    row_C = torch.randperm(size, generator=chance)[:count]
    # cos is periodic: the angle is reduced in integers, so that it loses nothing for long rows.
    angle_CI = (row_C[:, None] * (2 * torch.arange(size) + 1)[None]) % (4 * size)
    scale_C = ((1 + (row_C > 0)).double() / size).sqrt()
    return scale_C[:, None] * torch.cos(angle_CI.double() * (math.pi / (2 * size))) * signs
