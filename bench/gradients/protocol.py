"""What a reading of gradients is: after which steps, of how many entries, in which core, and which block is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from bench.errors import BadRequest
from bench.request import Request
from sparsegrad.core import check_core, default_core
from sparsegrad.roles import Target, find_targets, shape_of
from sparsegrad.support import resolve_kept

__all__ = ["CORE_SIDES", "DRAWN_BLOCK", "Protocol", "Sizes", "cores_of", "default_block", "sizes_of"]

CORE_SIDES = (16, 32, 64, 128, 256, 512, 1024, 2048)
"""Sides of the square cores whose energy is read, as far as they fit."""
DRAWN_BLOCK = 5
"""The paper's heat maps are of this block."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Beside the request's model, text and training."""

    steps: int
    """Train steps."""
    read_every: int
    """Gradients are read at each step that this divides, before the update."""
    block: int
    """Index of the block whose gradients are drawn."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.read_every < 1:
            raise BadRequest(f"--steps {self.steps} --read-every {self.read_every}: give 1 or more")
        if self.read_every > self.steps:
            raise BadRequest(
                f"--read-every {self.read_every} never comes in --steps {self.steps}: nothing would be read; give "
                f"--read-every {self.steps} or less"
            )

    @property
    def readings(self) -> list[int]:
        """The steps that are read, counted from 1."""
        return list(range(self.read_every, self.steps + 1, self.read_every))

    def config(self) -> dict[str, Any]:
        """JSON types, for a record."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of one linear: what is kept of its gradient, and where."""

    out: int
    inner: int
    kept: int
    """Entries."""
    core: tuple[int, int]
    """Rows and columns of the rotated space that a fixed support may lie in."""


def sizes_of(request: Request, target: Target) -> Sizes:
    """What ``--kept`` and ``--core`` come to for one linear; SparseGradError where they do not fit."""
    out, inner = shape_of(target.module)
    kept = resolve_kept(request.kept, out * inner, layer=target.name)
    core = check_core(request.core or default_core(kept, out, inner), kept, out, inner, layer=target.name)
    return Sizes(out=out, inner=inner, kept=kept, core=core)


def cores_of(out: int, inner: int) -> list[tuple[int, int]]:
    """The square cores that are read of an (out, in) linear, sides clipped to it, the last one the whole matrix."""
    longest = max(out, inner)
    return [(min(side, out), min(side, inner)) for side in (*(s for s in CORE_SIDES if s < longest), longest)]


def default_block(asked: int | None, model: nn.Module, *, targets: str | None, every: int) -> int:
    """``asked``, or the paper's block, or of a shallower model the last before it; BadRequest where it has no such."""
    blocks = sorted({target.block for target in find_targets(model, targets=targets, every=every)})
    if asked is None:
        return max((block for block in blocks if block <= DRAWN_BLOCK), default=blocks[0])
    if asked not in blocks:
        raise BadRequest(f"--block {asked}: no MLP linear is tuned there; give one of {_listed(blocks)}")
    return asked


def _listed(blocks: Sequence[int]) -> str:
    return ", ".join(map(str, blocks))
