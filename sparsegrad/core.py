"""The core: r rows by c columns of the rotated space, and the k places in it that a fixed support trains.

Bases come by falling singular value, so the leading r rows of V and c rows of U span the part of the rotated space
with the most calibration energy of any r by c (each mode's squared singular values are the energies of its rows).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .errors import SparseGradError
from .rotation import fingerprint_of
from .support import top_k

Core = tuple[int, int]
# Sides of a default core are multiples of this: what matrix kernels tile by.
_TILE = 32


def default_core(kept: int, out: int, inner: int) -> Core:
    """(r, c): the smallest square with a side divisible by 32 that holds ``kept`` places, each side clipped to the
    layer's (out, in). ``kept`` is at most out * in."""
    side = _TILE
    while min(side, out) * min(side, inner) < kept:
        side += _TILE
    return min(side, out), min(side, inner)


def check_core(core: Core, kept: int | None, out: int, inner: int, *, layer: str) -> Core:
    """``core`` itself; SparseGradError where it is larger than the layer, or has fewer places than ``kept``."""
    if not (isinstance(core, tuple) and len(core) == 2 and all(isinstance(side, int) for side in core)):
        raise SparseGradError(f"core={core!r}: give two counts (rows, columns), such as (160, 160)")
    rows, cols = core
    if not (1 <= rows <= out and 1 <= cols <= inner):
        raise SparseGradError(f"core={core} does not fit {layer}, which is ({out}, {inner}) (out, in)")
    if kept is not None and kept > rows * cols:
        raise SparseGradError(
            f"kept={kept} entries of {layer} do not fit core={core}, which has {rows * cols}: give a larger core or "
            "keep fewer"
        )
    return core


class Slices(nn.Module):
    """The part of a pair of bases that a core needs: ``u`` (c, in) and ``v`` (r, out), orthonormal rows.

    A module, so that layers which share a pair go on sharing it through ``.to()`` and deepcopy; not in the state dict.
    ``fingerprint``: eight bytes (uint8) of the slices as calibrated, before they are rounded to a layer's dtype.
    """

    u: Tensor
    v: Tensor

    def __init__(self, u: Tensor, v: Tensor, *, fingerprint: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("u", u, persistent=False)
        self.register_buffer("v", v, persistent=False)
        self.fingerprint = fingerprint_of(u, v) if fingerprint is None else fingerprint

    def unrotate(self, core_RC: Tensor) -> Tensor:
        """V_R^T S U_C, (out, in), in at least fp32."""
        wide = torch.promote_types(core_RC.dtype, torch.float32)
        core, u, v = core_RC.to(wide), self.u.to(wide), self.v.to(wide)
        (rows, out), (cols, inner) = v.shape, u.shape
        if cols * out * (rows + inner) <= rows * inner * (cols + out):  # the cheaper bracket of three
            return (v.T @ core) @ u
        return v.T @ (core @ u)

    def extra_repr(self) -> str:
        """Core and fingerprint, for print(model)."""
        return f"core=({len(self.v)}, {len(self.u)}), fingerprint={bytes(self.fingerprint.tolist()).hex()}"


def strongest(energy_RC: Tensor, kept: int) -> Tensor:
    """The ``kept`` places of a core with the most energy, ascending, as row * c + column: (k,) int32."""
    at: Tensor = top_k(energy_RC, kept).indices()
    return (at[0] * energy_RC.shape[1] + at[1]).to(torch.int32)
