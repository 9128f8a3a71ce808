"""One pair of orthogonal matrices, shared by the layers that look at their gradients through it."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from .dataless import is_dataless


class Rotation(nn.Module):
    """U (in, in) and V (out, out), basis vectors in rows; ``None`` stands for the identity.

    A module, so that layers which share a pair go on sharing it through ``.to()`` and deepcopy; its matrices are not
    in the state dict (each layer's would repeat them), only their ``fingerprint`` is, by the layer. It is that of the
    matrices as calibrated, given where these are rounded to the layer's dtype.
    """

    u: Tensor | None
    v: Tensor | None

    def __init__(self, u: Tensor | None = None, v: Tensor | None = None, *, fingerprint: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("u", u, persistent=False)
        self.register_buffer("v", v, persistent=False)
        self.fingerprint = fingerprint_of(u, v) if fingerprint is None else fingerprint

    @property
    def sides(self) -> str:
        """Which sides are rotated: "both", "in", "out" or "none"."""
        return {(True, True): "both", (True, False): "in", (False, True): "out"}.get(
            (self.u is not None, self.v is not None), "none"
        )

    def rotate(self, w_OI: Tensor) -> Tensor:
        """V W U^T, computed in at least fp32 and returned in W's dtype."""
        return self._sandwich(w_OI, self.v, None if self.u is None else self.u.T)

    def unrotate(self, core_OI: Tensor) -> Tensor:
        """V^T W~ U, computed in at least fp32 and returned in W~'s dtype."""
        return self._sandwich(core_OI, None if self.v is None else self.v.T, self.u)

    @staticmethod
    def _sandwich(w: Tensor, left: Tensor | None, right: Tensor | None) -> Tensor:
        wide = torch.promote_types(w.dtype, torch.float32)
        product = w.to(wide)
        if left is not None:
            product = left.to(wide) @ product
        if right is not None:
            product = product @ right.to(wide)
        return product.to(w.dtype)

    def extra_repr(self) -> str:
        """Sides and fingerprint, for print(model)."""
        return f"sides={self.sides}, fingerprint={bytes(self.fingerprint.tolist()).hex()}"


def fingerprint_of(u: Tensor | None, v: Tensor | None) -> Tensor:
    """Eight bytes that tell one pair from another: (8,) uint8, the same on any device and in fp32 and fp64.

    Read off at most 64 x 64 entries a side, rounded to bf16: 0.2 ms a layer, and no copy of the matrix.
    """
    digest = hashlib.sha256()
    for name, matrix in (("u", u), ("v", v)):
        digest.update(name.encode())
        if matrix is not None and not is_dataless(matrix):
            stride = max(1, matrix.shape[0] // 64)
            sample = matrix[::stride, ::stride].float().to(torch.bfloat16).contiguous().cpu()
            digest.update(str(tuple(matrix.shape)).encode() + bytes(sample.view(torch.uint8).flatten().tolist()))
    return torch.tensor(list(digest.digest()[:8]), dtype=torch.uint8)


def weight_sample(weight: Tensor) -> bytes:
    """At most 4,096 entries or so, rounded to bf16: the same on any device, and for fp32 and bf16 copies."""
    if is_dataless(weight):
        return b""
    flat = weight.detach().reshape(-1)
    sample = flat[:: max(1, len(flat) // 4096)].to(torch.bfloat16).cpu()
    return sample.contiguous().view(torch.uint8).numpy().tobytes()


def weight_fingerprint(w_OI: Tensor) -> Tensor:
    """Eight bytes that tell one weight matrix from another: (8,) uint8."""
    digest = hashlib.sha256(str(tuple(w_OI.shape)).encode() + weight_sample(w_OI))
    return torch.tensor(list(digest.digest()[:8]), dtype=torch.uint8)
