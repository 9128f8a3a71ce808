"""The paper's layer through torch's own sparse products, for comparison: g as CSR or COO and torch.sparse.mm.

The three products with the upstream gradient on the left (see ``sparsegrad.executions``) become sparse by dense:

    g~ = g V^T          dW~^T = (g~^T) x~          dx = (g~ W~) U

torch knows no matrix of whole zero rows: it stores an index for each entry of the rows that are not. g and g~ are
compressed anew in each step, as they are new in each step.

Legend: T tokens, I in, O out.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from sparsegrad.linear import SparseGradLinear
from sparsegrad.rotation import Rotation

__all__ = ["Layout", "TorchSparseLinear"]

Layout = Literal["csr", "coo"]


class TorchSparseLinear(SparseGradLinear):
    """SparseGradLinear with execution "sd", whose backward multiplies by torch.sparse.mm. Both bases are needed."""

    layout: Layout = "csr"

    def forward(self, x: Tensor) -> Tensor:
        """y (..., out) of x (..., in), as SparseGradLinear, in x's dtype."""
        self._arm()
        flat = x.reshape(-1, self.in_features)
        y_TO: Tensor = _BySparseMM.apply(flat, self.weight, self.bias, self.rotation, self.layout)
        return y_TO.view(*x.shape[:-1], self.out_features)


class _BySparseMM(Function):
    @staticmethod
    def forward(
        ctx: Any, x_TI: Tensor, core_OI: Tensor, bias_O: Tensor | None, rotation: Rotation, layout: Layout
    ) -> Tensor:
        assert rotation.u is not None and rotation.v is not None
        xr_TI = x_TI @ rotation.u.T
        y_TO = (xr_TI @ core_OI.T) @ rotation.v
        if bias_O is not None:
            y_TO = y_TO.add_(bias_O)
        ctx.save_for_backward(xr_TI, core_OI)
        ctx.rotation, ctx.layout = rotation, layout
        return y_TO

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_TO: Tensor) -> tuple[Tensor | None, ...]:
        xr_TI, core_OI = ctx.saved_tensors
        u, v = ctx.rotation.u, ctx.rotation.v
        gr_TO = torch.sparse.mm(_compressed(g_TO, ctx.layout), v.T)
        dcore_OI = torch.sparse.mm(_compressed(gr_TO.T, ctx.layout), xr_TI)
        dx_TI = torch.sparse.mm(_compressed(gr_TO, ctx.layout), core_OI) @ u
        dbias_O = g_TO.sum(0) if ctx.needs_input_grad[2] else None
        return dx_TI, dcore_OI, dbias_O, None, None


def _compressed(a: Tensor, layout: Layout) -> Tensor:
    with warnings.catch_warnings():  # torch calls the layout beta, once a process
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return a.to_sparse_csr() if layout == "csr" else a.to_sparse_coo()
