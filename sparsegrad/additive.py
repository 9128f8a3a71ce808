r"""A frozen linear, and a small trainable core beside it: y = x W^T + x_c S^T V_R, with x_c = x U_C^T.

With g = dL/dy, g_r = g V_R^T, U_C (c, in) and V_R (r, out) the leading rows of the bases:

    dS = g_r^T x_c          dx = g W + g_r S U_C

dS is the r by c part of the rotated gradient V g^T x U^T, so that only x_c (tokens by c) has to be saved. Where W
already carries V_R^T S U_C, the core adds nothing to y and dx, and dS is the same. Rows of g that are exactly zero
(padding) add nothing to dS and are zero in dx: they are left out before any product.

Legend: T tokens, I in, O out, A active tokens (nonzero rows of g), R x C the core.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from .products import nonzero_rows, rows_of, scatter_rows


class HasSlices(Protocol):
    """Two slices of bases, orthonormal rows: ``core.Slices``, or whatever holds the like."""

    @property
    def u(self) -> Tensor:
        """(c, in)."""

    @property
    def v(self) -> Tensor:
        """(r, out)."""


def plain(
    x_TI: Tensor, w_OI: Tensor, bias_O: Tensor | None, core_RC: Tensor | None, slices: HasSlices | None
) -> Tensor:
    """The formula itself in autograd's own operations: the reference, and what torch.compile is given."""
    y_TO = linear(x_TI, w_OI, bias_O)
    if core_RC is None or slices is None:
        return y_TO
    return y_TO + linear(linear(x_TI, slices.u.to(x_TI.dtype)), core_RC) @ slices.v.to(x_TI.dtype)


def frozen_linear(x_TI: Tensor, w_OI: Tensor, bias_O: Tensor | None, dtype: torch.dtype) -> Tensor:
    """x W^T + b of a weight that does not train, whose backward leaves zero rows out."""
    return _apply(x_TI, None, w_OI, bias_O, None, dtype, False)


def frozen_plus_core(
    x_TI: Tensor,
    core_RC: Tensor,
    w_OI: Tensor,
    bias_O: Tensor | None,
    slices: HasSlices,
    dtype: torch.dtype,
    adds: bool,
) -> Tensor:
    """y (T, out) of x (T, in); ``adds`` False where W carries the core already. Products in ``dtype``."""
    return _apply(x_TI, core_RC, w_OI, bias_O, slices, dtype, adds)


class _FrozenPlusCore(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_TI: Tensor,
        core_RC: Tensor | None,
        w_OI: Tensor,
        bias_O: Tensor | None,
        slices: HasSlices | None,
        dtype: torch.dtype,
        adds: bool,
    ) -> Tensor:
        learns = ctx.needs_input_grad[1]
        xc_TC = core = None
        with torch.autocast(x_TI.device.type, enabled=False):
            x = x_TI.to(dtype)
            y_TO = linear(x, w_OI.to(dtype), None if bias_O is None else bias_O.to(dtype))
            if slices is not None and (adds or learns):
                xc_TC = x @ slices.u.to(dtype).T
            if slices is not None and core_RC is not None and adds:
                assert xc_TC is not None
                core = core_RC.to(dtype)
                y_TO = y_TO.addmm_(xc_TC @ core.T, slices.v.to(dtype))
        ctx.save_for_backward(w_OI, xc_TC if learns else None, core)
        ctx.slices, ctx.x_dtype, ctx.core_dtype = slices, x_TI.dtype, None if core_RC is None else core_RC.dtype
        return y_TO

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_TO: Tensor) -> tuple[Tensor | None, ...]:
        w_OI, xc_TC, core_RC = ctx.saved_tensors
        slices: HasSlices | None = ctx.slices
        dx_TI = dcore_RC = gr_AR = None
        rows_A = nonzero_rows(g_TO)
        g_AO = rows_of(g_TO, rows_A)
        if slices is not None and (xc_TC is not None or core_RC is not None):
            gr_AR = g_AO @ slices.v.to(g_AO.dtype).T
        if xc_TC is not None:
            assert gr_AR is not None
            dcore_RC = (gr_AR.T @ rows_of(xc_TC, rows_A)).to(ctx.core_dtype)  # dS = g_r^T x_c
        if ctx.needs_input_grad[0]:
            dx_AI = g_AO @ w_OI.to(g_AO.dtype)
            if core_RC is not None:
                assert gr_AR is not None and slices is not None
                dx_AI.addmm_(gr_AR @ core_RC, slices.u.to(g_AO.dtype))  # dx = g W + g_r S U_C
            dx_TI = scatter_rows(dx_AI.to(ctx.x_dtype), rows_A, len(g_TO))
        return dx_TI, dcore_RC, None, None, None, None, None


_apply: Callable[..., Tensor] = _FrozenPlusCore.apply
