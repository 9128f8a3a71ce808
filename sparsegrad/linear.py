r"""SparseGradLinear: a linear whose weight lives in rotated coordinates.

With x the input, g = dL/dy, and orthogonal U (in, in), V (out, out), basis vectors in rows (the paper's Table 2):

    x~  = x U^T          y   = x~ W~^T V          W~ = V W U^T, so y = x W^T exactly
    g~  = g V^T          dx  = g~ W~ U            dW~ = g~^T x~ = V (g^T x) U^T

Three linears: frozen U, trainable W~, frozen V. Of dW~ only the k largest entries are kept (see ``selection``).
Rows of g that are exactly zero (padding, and all but [CLS] in a classifier's last block) give zero rows of g~ and dx
and add nothing to dW~; ``sd`` leaves them out before any product, ``regular`` carries them along: same numbers.

Legend: T tokens, I in, O out, A active tokens (nonzero rows of g).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .errors import BasesMismatch, SparseGradError
from .products import sparse_by_dense
from .roles import is_linear, is_transposed, weight_of
from .rotation import Rotation
from .selection import Selection, selection_of
from .support import resolve_kept

Execution = Literal["regular", "sd"]
EXECUTIONS = ("regular", "sd")


class _RotatedLinear(Function):
    """y, dx, dW~ and db of the table above, all products in ``dtype`` (autocast's, else the input's)."""

    @staticmethod
    def forward(
        ctx: Any,
        x_TI: Tensor,
        core_OI: Tensor,
        bias_O: Tensor | None,
        rotation: Rotation,
        execution: Execution,
        dtype: torch.dtype,
    ) -> Tensor:
        with torch.autocast(x_TI.device.type, enabled=False):
            xr_TI = _times(x_TI.to(dtype), rotation.u, transpose=True)  # x~ = x U^T
            y_TO = _times(xr_TI @ core_OI.to(dtype).T, rotation.v)  # y = (x~ W~^T) V
            if bias_O is not None:
                y_TO = y_TO.add_(bias_O.to(dtype))
        ctx.save_for_backward(xr_TI, core_OI)
        ctx.rotation, ctx.execution, ctx.x_dtype = rotation, execution, x_TI.dtype
        return y_TO

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_TO: Tensor) -> tuple[Tensor | None, ...]:
        xr_TI, core_OI = ctx.saved_tensors
        rotation: Rotation = ctx.rotation
        need_x, need_core, need_bias = ctx.needs_input_grad[:3]
        dx_TI = dcore_OI = dbias_O = None
        if ctx.execution == "sd":
            rows_A, gr_AO = _active(g_TO, rotation)  # g~ = g V^T, nonzero rows only
            xr_AI = xr_TI if len(rows_A) == len(xr_TI) else xr_TI[rows_A]
        else:
            rows_A, gr_AO, xr_AI = None, _times(g_TO, rotation.v, transpose=True), xr_TI
        if need_core:
            dcore_OI = (gr_AO.T @ xr_AI).to(core_OI.dtype)  # dW~ = g~^T x~
        if need_x:
            dx_AI = _times(gr_AO @ core_OI.to(g_TO.dtype), rotation.u).to(ctx.x_dtype)  # dx = g~ W~ U
            dx_TI = dx_AI if rows_A is None else dx_AI.new_zeros(xr_TI.shape).index_copy_(0, rows_A, dx_AI)
        if need_bias:
            dbias_O = g_TO.sum(0).to(core_OI.dtype)
        return dx_TI, dcore_OI, dbias_O, None, None, None


def _times(a: Tensor, basis: Tensor | None, *, transpose: bool = False) -> Tensor:
    """a B, or a B^T, with None the identity."""
    if basis is None:
        return a
    return a @ (basis.to(a.dtype).T if transpose else basis.to(a.dtype))


def _active(g_TO: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor]:
    """Indices of the nonzero rows of g, and those rows of g~, by the paper's sparse-by-dense product."""
    if rotation.v is None:
        rows_A = (g_TO != 0).any(dim=1).nonzero().squeeze(1)
        return rows_A, g_TO[rows_A]
    product = sparse_by_dense(g_TO, rotation.v.to(g_TO.dtype).T, layout="rows")
    return product.indices()[0], product.values()


class SparseGradLinear(nn.Module):
    """A linear in rotated coordinates whose weight gradient keeps k entries.

    Parameters: ``weight`` = W~ (out, in), ``bias`` (out,) or None. ``weight.grad`` is coalesced COO with k entries
    (dense where k is every entry); input (..., in) of any floating dtype, output (..., out).

    Built by :meth:`from_linear`, undone by :meth:`to_linear`.
    """

    basis_fingerprint: Tensor

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        rotation: Rotation,
        *,
        kept: int,
        execution: Execution = "sd",
        accumulate: bool = True,
        transposed: bool = False,
        name: str = "linear",
    ) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.rotation = rotation
        self.register_buffer("basis_fingerprint", rotation.fingerprint.clone())
        self.kept, self.execution, self.accumulate = kept, execution, accumulate
        self.transposed, self.name = transposed, name
        self._arm()

    @classmethod
    def from_linear(
        cls,
        linear: nn.Module,
        rotation: Rotation | None = None,
        *,
        kept: int | float = 0.01,
        support: Literal["dynamic"] = "dynamic",
        execution: Execution = "sd",
        accumulate: bool = True,
        name: str = "linear",
    ) -> SparseGradLinear:
        """The same function as ``linear`` (nn.Linear or GPT-2's Conv1D) in the coordinates of ``rotation``.

        Args:
            rotation: None stands for the original space (MeProp).
            kept: entries of dW~ a step: a count (int) or a share (float); every entry: a dense gradient.
            support: "dynamic", the top-k of each step.
            execution: "sd" (zero rows of g left out) or "regular".
            accumulate: keep what a backward drops until ``zero_grad``, so that gradient accumulation selects from the
                sum. Costs one dense buffer of W's size; without it a second backward before a step is an error.
        Raises:
            SparseGradError: an unknown option, or ``kept`` outside the layer.
            BasesMismatch: the rotation has another shape.
        """
        if not is_linear(linear):
            raise SparseGradError(f"{name} is a {type(linear).__name__}: SparseGrad converts nn.Linear and Conv1D")
        if support != "dynamic" or execution not in EXECUTIONS:
            raise SparseGradError(
                f"support={support!r}, execution={execution!r}: give support='dynamic' and execution "
                f"{' or '.join(map(repr, EXECUTIONS))}"
            )
        transposed = is_transposed(linear)
        source = weight_of(linear)
        w_OI, bias = (source.T if transposed else source).detach(), linear.bias
        rotation = Rotation() if rotation is None else rotation
        for side, matrix, size in (("in", rotation.u, w_OI.shape[1]), ("out", rotation.v, w_OI.shape[0])):
            if matrix is not None and tuple(matrix.shape) != (size, size):
                raise BasesMismatch(f"{name} needs an {side} basis ({size}, {size}); given {tuple(matrix.shape)}")
        layer = cls(
            rotation.rotate(w_OI).contiguous().clone(),
            bias.detach().clone() if isinstance(bias, Tensor) else None,
            rotation,
            kept=resolve_kept(kept, w_OI.numel(), layer=name),
            execution=execution,
            accumulate=accumulate,
            transposed=transposed,
            name=name,
        )
        layer.weight.requires_grad_(source.requires_grad)
        if layer.bias is not None and isinstance(bias, Tensor):
            layer.bias.requires_grad_(bias.requires_grad)
        return layer.train(linear.training)

    def merged_weight(self) -> Tensor:
        """W = V^T W~ U, (out, in), in the original space."""
        return self.rotation.unrotate(self.weight.detach())

    def forward(self, x: Tensor) -> Tensor:
        """y (..., out) of x (..., in); under autocast in its dtype, as nn.Linear."""
        if not x.is_floating_point():
            raise SparseGradError(f"{self.name} takes floating-point input; given {x.dtype}")
        self._arm()
        dtype, kind = x.dtype, x.device.type
        if torch.is_autocast_enabled(kind) and dtype is not torch.float64:
            dtype = torch.get_autocast_dtype(kind)
        y_TO: Tensor = _RotatedLinear.apply(  # type: ignore[no-untyped-call]
            x.reshape(-1, self.in_features), self.weight, self.bias, self.rotation, self.execution, dtype
        )
        return y_TO.view(*x.shape[:-1], self.out_features)

    def _arm(self) -> None:
        """Put the selection on the weight; again after a deepcopy, unpickling or ``load_state_dict(assign=True)``."""
        if self.weight.requires_grad and selection_of(self.weight) is None:
            Selection(self.weight, self.kept, accumulate=self.accumulate, name=self.name)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._arm()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        told = state_dict.get(f"{prefix}basis_fingerprint")
        if told is None and f"{prefix}weight" in state_dict:
            raise BasesMismatch(
                f"{self.name}: this state dict holds a plain linear's weight; load it before convert, or after revert"
            )
        if told is not None and not torch.equal(told.cpu(), self.basis_fingerprint.cpu()):
            raise BasesMismatch(
                f"{self.name}: this state dict was saved in other bases than the layer has; convert the model with "
                "the bases it was trained in, or use sparsegrad.load"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """Sizes, kept entries and execution, for print(model)."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, "
            f"kept={self.kept}, execution={self.execution}"
        )
