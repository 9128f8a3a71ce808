r"""The ways to compute one layer: what is stored, what is multiplied, in which order. All give the same numbers.

With x the input, g = dL/dy, and orthogonal U (in, in), V (out, out), basis vectors in rows (the paper's Table 2):

    x~  = x U^T          y   = x~ W~^T V          W~ = V W U^T, so y = x W^T exactly
    g~  = g V^T          dx  = g~ W~ U            dW~ = g~^T x~ = V (g^T x) U^T

``regular`` and ``sd`` are the paper's: the layer stores W~ and runs three linears, frozen U, trainable W~, frozen V.
``planned`` stores W, so that y = x W^T and dx = g W need no rotation, and brackets V g^T x U^T in the cheapest order;
the optimizer steps in the rotated space and writes V^T dW~ U back.

Rows of g that are exactly zero (padding, and all but [CLS] in a classifier's last block) give zero rows of g~ and dx
and add nothing to dW~; ``sd`` and ``planned`` leave them out before any product, ``regular`` carries them along.

Legend: T tokens, I in, O out, A active tokens (nonzero rows of g).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .plan import gradient_order
from .products import chain, nonzero_rows, rows_of, scatter_rows, sparse_by_dense
from .rotation import Rotation

ExecutionName = Literal["regular", "sd", "planned"]


class _Rotated(Function):
    """The three linears, all products in ``dtype`` (autocast's, else the input's)."""

    @staticmethod
    def forward(
        ctx: Any,
        x_TI: Tensor,
        core_OI: Tensor,
        bias_O: Tensor | None,
        rotation: Rotation,
        dtype: torch.dtype,
        drop_zero_rows: bool,
    ) -> Tensor:
        with torch.autocast(x_TI.device.type, enabled=False):
            xr_TI = _times(x_TI.to(dtype), rotation.u, transpose=True)  # x~ = x U^T
            y_TO = _times(xr_TI @ core_OI.to(dtype).T, rotation.v)  # y = (x~ W~^T) V
            if bias_O is not None:
                y_TO = y_TO.add_(bias_O.to(dtype))
        ctx.save_for_backward(xr_TI, core_OI)
        ctx.rotation, ctx.drop_zero_rows, ctx.x_dtype = rotation, drop_zero_rows, x_TI.dtype
        return y_TO

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_TO: Tensor) -> tuple[Tensor | None, ...]:
        xr_TI, core_OI = ctx.saved_tensors
        rotation: Rotation = ctx.rotation
        need_x, need_core, need_bias = ctx.needs_input_grad[:3]
        dx_TI = dcore_OI = dbias_O = None
        if ctx.drop_zero_rows:
            rows_A, gr_AO = _active(g_TO, rotation)  # g~ = g V^T, nonzero rows only
            xr_AI = rows_of(xr_TI, rows_A)
        else:
            rows_A, gr_AO, xr_AI = None, _times(g_TO, rotation.v, transpose=True), xr_TI
        if need_core:
            dcore_OI = (gr_AO.T @ xr_AI).to(core_OI.dtype)  # dW~ = g~^T x~
        if need_x:
            dx_AI = _times(gr_AO @ core_OI.to(g_TO.dtype), rotation.u)  # dx = g~ W~ U
            dx_TI = scatter_rows(dx_AI.to(ctx.x_dtype), rows_A, len(g_TO))
        if need_bias:
            dbias_O = g_TO.sum(0).to(core_OI.dtype)
        return dx_TI, dcore_OI, dbias_O, None, None, None


class _Planned(Function):
    """A plain linear forward; dW~ by the cheapest order. The weight is W, its gradient in rotated coordinates."""

    @staticmethod
    def forward(
        ctx: Any,
        x_TI: Tensor,
        w_OI: Tensor,
        bias_O: Tensor | None,
        rotation: Rotation,
        dtype: torch.dtype,
        _drop_zero_rows: bool,
    ) -> Tensor:
        with torch.autocast(x_TI.device.type, enabled=False):
            x = x_TI.to(dtype)
            y_TO = torch.nn.functional.linear(x, w_OI.to(dtype), None if bias_O is None else bias_O.to(dtype))
        ctx.save_for_backward(x, w_OI)
        ctx.rotation, ctx.x_dtype = rotation, x_TI.dtype
        return y_TO

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_TO: Tensor) -> tuple[Tensor | None, ...]:
        x_TI, w_OI = ctx.saved_tensors
        rotation: Rotation = ctx.rotation
        need_x, need_w, need_bias = ctx.needs_input_grad[:3]
        dx_TI = dcore_OI = dbias_O = None
        rows_A = nonzero_rows(g_TO)
        g_AO = rows_of(g_TO, rows_A)
        if need_w:
            dcore_OI = rotated_gradient(g_AO, rows_of(x_TI, rows_A), rotation).to(w_OI.dtype)
        if need_x:
            dx_TI = scatter_rows((g_AO @ w_OI.to(g_AO.dtype)).to(ctx.x_dtype), rows_A, len(g_TO))  # dx = g W
        if need_bias:
            dbias_O = g_AO.sum(0).to(w_OI.dtype)
        return dx_TI, dcore_OI, dbias_O, None, None, None


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a layer computes.

    Attributes:
        rotates_weight: the layer stores W~ (its gradient's own coordinates), else W.
        apply: (x (T, in), stored weight, bias, rotation, dtype) -> y (T, out), differentiable.
    """

    rotates_weight: bool
    apply: Callable[[Tensor, Tensor, Tensor | None, Rotation, torch.dtype], Tensor]


def _by(function: type[Function], *, drop_zero_rows: bool) -> Callable[..., Tensor]:
    def apply(x_TI: Tensor, weight: Tensor, bias: Tensor | None, rotation: Rotation, dtype: torch.dtype) -> Tensor:
        y_TO: Tensor = function.apply(x_TI, weight, bias, rotation, dtype, drop_zero_rows)
        return y_TO

    return apply


EXECUTIONS: Mapping[str, Execution] = {
    "regular": Execution(rotates_weight=True, apply=_by(_Rotated, drop_zero_rows=False)),
    "sd": Execution(rotates_weight=True, apply=_by(_Rotated, drop_zero_rows=True)),
    "planned": Execution(rotates_weight=False, apply=_by(_Planned, drop_zero_rows=True)),
}


def rotated_gradient(g_AO: Tensor, x_AI: Tensor, rotation: Rotation) -> Tensor:
    """dW~ = V g^T x U^T, (out, in) in g's dtype, by the order ``plan.gradient_order`` names."""
    u, v = (None if m is None else m.to(g_AO.dtype) for m in (rotation.u, rotation.v))
    (active, out), inner = g_AO.shape, x_AI.shape[1]
    if u is None or v is None:  # one side or none: from the left where V is the identity, from the right where U is
        gr_AO, xr_AI = _times(g_AO, v, transpose=True), _times(x_AI, u, transpose=True)
        return gr_AO.T @ xr_AI
    return chain(v, g_AO.T, x_AI, u.T, gradient_order(active=active, inner=inner, out=out, rows=out, cols=inner))


def _times(a: Tensor, basis: Tensor | None, *, transpose: bool = False) -> Tensor:
    """a B, or a B^T, with None the identity."""
    if basis is None:
        return a
    return a @ (basis.to(a.dtype).T if transpose else basis.to(a.dtype))


def _active(g_TO: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor]:
    """Indices of the nonzero rows of g, and those rows of g~, by the paper's sparse-by-dense product."""
    if rotation.v is None:
        rows_A = nonzero_rows(g_TO)
        return rows_A, rows_of(g_TO, rows_A)
    product = sparse_by_dense(g_TO, rotation.v.to(g_TO.dtype).T, layout="rows")
    return product.indices()[0], product.values()
