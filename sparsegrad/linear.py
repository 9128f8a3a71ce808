"""SparseGradLinear: a linear whose weight gradient is looked at in rotated coordinates, where few entries matter.

What is computed, and in which of the equal ways, stands in ``executions``; which entries live, in ``selection``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .errors import BasesMismatch, SparseGradError
from .executions import EXECUTIONS, ExecutionName
from .roles import is_linear, is_transposed, weight_of
from .rotation import Rotation
from .selection import Selection, selection_of
from .support import resolve_kept


class SparseGradLinear(nn.Module):
    """A linear whose weight gradient keeps k entries, of dW~ = V (g^T x) U^T.

    Parameters: ``weight`` (out, in): W~ = V W U^T, or W itself where the execution is "planned"; ``bias`` (out,) or
    None. ``weight.grad`` is coalesced COO with k entries in rotated coordinates (with regular and sd dense where k is
    every entry); ``SparseGradOptimizer`` knows the way back, other optimizers only where the weight is rotated
    too. Input (..., in) of any floating dtype, output (..., out).

    Built by ``from_linear``, undone by ``sparsegrad.revert``.
    """

    basis_fingerprint: Tensor

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        rotation: Rotation,
        *,
        kept: int,
        execution: ExecutionName = "sd",
        accumulate: bool = True,
        transposed: bool = False,
        name: str = "linear",
    ) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.rotation = rotation
        # The last byte tells in which coordinates the weight is stored: the two do not load into each other.
        coordinates = torch.tensor([EXECUTIONS[execution].rotates_weight], dtype=torch.uint8)
        self.register_buffer("basis_fingerprint", torch.cat((rotation.fingerprint.cpu(), coordinates)))
        self.kept, self.execution, self.accumulate = kept, execution, accumulate
        self.transposed, self.name = transposed, name
        # Set by ``distributed.data_parallel``.
        self.data_parallel = False
        self._arm()

    @classmethod
    def from_linear(
        cls,
        linear: nn.Module,
        rotation: Rotation | None = None,
        *,
        kept: int | float = 0.01,
        execution: ExecutionName = "sd",
        accumulate: bool = True,
        name: str = "linear",
    ) -> SparseGradLinear:
        """The same function as ``linear`` (nn.Linear or GPT-2's Conv1D) in the coordinates of ``rotation``.

        Args:
            rotation: None stands for the original space (MeProp).
            kept: entries of dW~ a step: a count (int) or a share (float); every entry: a dense gradient.
            execution: "regular", "sd" (zero rows of g left out) or "planned" (cheapest order); the same numbers.
            accumulate: keep what a backward drops until ``zero_grad``, so that gradient accumulation selects from the
                sum. Costs one dense buffer of W's size; without it a second backward before a step is an error.
        Raises:
            SparseGradError: an unknown option, or ``kept`` outside the layer.
            BasesMismatch: the rotation has another shape.
        """
        if not is_linear(linear):
            raise SparseGradError(f"{name} is a {type(linear).__name__}: SparseGrad converts nn.Linear and Conv1D")
        if execution not in EXECUTIONS:
            raise SparseGradError(f"execution={execution!r}: give {' or '.join(map(repr, EXECUTIONS))}")
        transposed = is_transposed(linear)
        source = weight_of(linear)
        w_OI, bias = (source.T if transposed else source).detach(), linear.bias
        rotation = Rotation() if rotation is None else rotation
        for side, matrix, size in (("in", rotation.u, w_OI.shape[1]), ("out", rotation.v, w_OI.shape[0])):
            if matrix is not None and tuple(matrix.shape) != (size, size):
                raise BasesMismatch(f"{name} needs an {side} basis ({size}, {size}); given {tuple(matrix.shape)}")
        layer = cls(
            (rotation.rotate(w_OI) if EXECUTIONS[execution].rotates_weight else w_OI).contiguous().clone(),
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

    @property
    def source_trains(self) -> tuple[bool, bool]:
        """Whether weight and bias require grad, as the linear this one stands for would."""
        return self.weight.requires_grad, self.bias is not None and self.bias.requires_grad

    def merged_weight(self) -> Tensor:
        """W = V^T W~ U, (out, in), in the original space."""
        stored = self.weight.detach()
        return self.rotation.unrotate(stored) if EXECUTIONS[self.execution].rotates_weight else stored.clone()

    def forward(self, x: Tensor) -> Tensor:
        """y (..., out) of x (..., in); under autocast in its dtype, as nn.Linear."""
        if not x.is_floating_point():
            raise SparseGradError(f"{self.name} takes floating-point input; given {x.dtype}")
        self._arm()
        dtype, kind = x.dtype, x.device.type
        if torch.is_autocast_enabled(kind) and dtype is not torch.float64:
            dtype = torch.get_autocast_dtype(kind)
        y_TO = EXECUTIONS[self.execution].apply(
            x.reshape(-1, self.in_features), self.weight, self.bias, self.rotation, dtype
        )
        return y_TO.view(*x.shape[:-1], self.out_features)

    def _arm(self) -> None:
        """Put the selection on the weight; again after a deepcopy, unpickling or ``load_state_dict(assign=True)``."""
        if self.weight.requires_grad and selection_of(self.weight) is None:
            own = EXECUTIONS[self.execution].rotates_weight or self.rotation.sides == "none"
            stored_elsewhere = None if own else self.rotation
            Selection(
                self.weight,
                self.kept,
                accumulate=self.accumulate,
                name=self.name,
                rotation=stored_elsewhere,
                averages=self.data_parallel,
            )

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
                f"{self.name}: this state dict was saved in other bases or another execution than the layer "
                "has; convert the model as it was in training, or use sparsegrad.load"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """Sizes, kept entries and execution, for print(model)."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, "
            f"kept={self.kept}, execution={self.execution}"
        )
