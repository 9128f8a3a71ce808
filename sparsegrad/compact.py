"""CompactLinear: a frozen linear whose only trainable tensor is ``values``, k entries of a small core.

    y = x (W + V_R^T S U_C)^T + b,   S (r, c) zero but for ``values`` at ``places``

See ``additive`` for the derivatives and ``core`` for how rows, columns and places are picked.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from .additive import frozen_plus_core, plain
from .core import Slices
from .dataless import is_dataless
from .errors import BasesMismatch, SparseGradError
from .plan import core_is_cheaper_written
from .roles import is_linear, is_transposed, weight_of
from .rotation import weight_fingerprint

CompactExecution = Literal["planned", "additive", "merged"]
# Beyond so many times W's norm an update is not written into it: of fp32's seven digits four would be left.
_DIVERGED = 1e3
COMPACT_EXECUTIONS: tuple[CompactExecution, ...] = ("planned", "additive", "merged")


class CompactLinear(nn.Module):
    """A linear with W and bias frozen and k trainable ``values`` in an r by c core of the rotated space.

    Parameters: ``weight`` (out, in) and ``bias`` (out,) or None, frozen; ``values`` (k,), in at least fp32. Buffers:
    ``places`` (k,) int32 ascending, row * c + column; two fingerprints. Saved for backward: x U_C^T alone.

    Executions, the same numbers: "additive" leaves ``weight`` untouched. "merged" gives ``weight`` new data, with the
    update in it, before a forward that finds ``values`` changed, so that the forward is the frozen linear's; fp32 (also
    of the products: no autocast) and one process only. "planned" does so where that is cheaper for the tokens at hand,
    and adds elsewhere. A state dict holds W without the update in each of them.

    Built by ``from_linear``, undone by ``sparsegrad.revert``.
    """

    places: Tensor
    basis_fingerprint: Tensor
    base_fingerprint: Tensor
    carried: Tensor | None
    settled: Tensor | None
    energy: Tensor | None
    _limit: Tensor | None
    _written: torch.UntypedStorage | None

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        slices: Slices,
        places: Tensor,
        *,
        execution: CompactExecution = "planned",
        transposed: bool = False,
        name: str = "linear",
    ) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.core_shape = (len(slices.v), len(slices.u))
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        # A sum of many small steps: half precision would lose them.
        wide = torch.promote_types(weight.dtype, torch.float32)
        self.values = nn.Parameter(torch.zeros(len(places), dtype=wide, device=weight.device))
        self.slices = slices
        self.register_buffer("places", places.to(weight.device))
        self.register_buffer("basis_fingerprint", slices.fingerprint.clone())
        # Of W before any update: an adapter knows its base weights again by it.
        self.register_buffer("base_fingerprint", weight_fingerprint(weight))
        # What W carries of the update already, what entries that left the support have learned (``refresh``), and the
        # gradient energy that a refresh chooses from.
        self.register_buffer("carried", None, persistent=False)
        self.register_buffer("settled", None)
        self.register_buffer("energy", None, persistent=False)
        self.execution, self.transposed, self.name = execution, transposed, name
        # The flags of the linear this one stands for, given back by ``revert``.
        self.source_trains = (True, True)
        self._provide_carried()
        if execution == "merged":
            self._check_may_merge(weight.dtype)

    @classmethod
    def from_linear(
        cls,
        linear: nn.Module,
        slices: Slices,
        places: Tensor,
        *,
        execution: CompactExecution = "planned",
        name: str = "linear",
    ) -> CompactLinear:
        """The same function as ``linear`` (nn.Linear or GPT-2's Conv1D), whose weight it shares and never writes into.

        Args:
            slices: u (c, in) and v (r, out). places: (k,) int32, as ``core.strongest`` gives.
            execution: "planned", "additive" or "merged".
        Raises:
            SparseGradError: no linear, an unknown execution, or "merged" where it cannot be exact.
            BasesMismatch: slices of another shape.
        """
        if not is_linear(linear):
            raise SparseGradError(f"{name} is a {type(linear).__name__}: SparseGrad converts nn.Linear and Conv1D")
        if execution not in COMPACT_EXECUTIONS:
            raise SparseGradError(f"execution={execution!r}: with support='fixed' give {', '.join(COMPACT_EXECUTIONS)}")
        transposed, source, bias = is_transposed(linear), weight_of(linear), linear.bias
        w_OI = (source.T if transposed else source).detach()
        for side, matrix, size in (("in", slices.u, w_OI.shape[1]), ("out", slices.v, w_OI.shape[0])):
            if matrix.shape[1] != size:
                raise BasesMismatch(f"{name} needs {side} vectors of {size} entries; given {matrix.shape[1]}")
        layer = cls(
            w_OI.contiguous(),
            bias.detach() if isinstance(bias, Tensor) else None,
            slices,
            places,
            execution=execution,
            transposed=transposed,
            name=name,
        )
        layer.source_trains = (source.requires_grad, isinstance(bias, Tensor) and bias.requires_grad)
        return layer.train(linear.training)

    def core(self) -> Tensor:
        """S (r, c), differentiable in ``values``."""
        rows, cols = self.core_shape
        if len(self.values) == rows * cols:  # every place: ascending, so in order
            return self.values.view(rows, cols)
        empty = self.values.new_zeros(rows * cols)
        core = empty.index_add(0, self.places, self.values).view(rows, cols)
        return core if self.settled is None else core + self.settled

    def base_weight(self) -> Tensor:
        """W without the update, (out, in): the weight itself unless it carries some (then to rounding)."""
        weight = self.weight.detach()
        if not self._carries():
            return weight
        assert self.carried is not None
        return self._plus(weight, -self.carried)

    def _carries(self) -> bool:
        return self.carried is not None and not is_dataless(self.carried) and self._bears() and bool(self.carried.any())

    def _bears(self) -> bool:
        """Whether W is the tensor that an update was written into: FSDP and offloading put another in its place."""
        return self._written is not None and self.weight.untyped_storage().data_ptr() == self._written.data_ptr()

    def merged_weight(self) -> Tensor:
        """W + V_R^T S U_C, (out, in)."""
        core = self.core().detach()
        if self._carries():
            assert self.carried is not None
            core = core - self.carried
        return self._plus(self.weight.detach(), core)

    def forward(self, x: Tensor) -> Tensor:
        """y (..., out) of x (..., in); under autocast in its dtype, as nn.Linear."""
        if not x.is_floating_point():
            raise SparseGradError(f"{self.name} takes floating-point input; given {x.dtype}")
        dtype, kind = x.dtype, x.device.type
        if torch.is_autocast_enabled(kind) and dtype is not torch.float64:
            dtype = torch.get_autocast_dtype(kind)
        x_TI, core = x.reshape(-1, self.in_features), self.core()
        if self.energy is not None and core.requires_grad:
            core.register_hook(self._observe)
        if torch.compiler.is_compiling() and self.execution != "merged":
            beyond = core if self.carried is None else core - self.carried
            cast = (self.weight.to(dtype), None if self.bias is None else self.bias.to(dtype), beyond.to(dtype))
            y_TO = plain(x_TI.to(dtype), *cast, self.slices)
        else:
            beyond, adds = self._beyond_weight(core, len(x_TI), dtype)
            # Detached: a later write rebinds the parameter's data, and this backward is to see the weight of now.
            weight = self.weight if self.carried is None else self.weight.detach()
            y_TO = frozen_plus_core(x_TI, beyond, weight, self.bias, self.slices, dtype, adds)
        return y_TO.view(*x.shape[:-1], self.out_features)

    def _observe(self, dcore_RC: Tensor) -> None:
        """Add a backward's gradient energy; a gradient that a scaler will reject counts for nothing."""
        assert self.energy is not None
        self.energy.add_(dcore_RC.square().nan_to_num_(nan=0.0, posinf=0.0))

    def _beyond_weight(self, core: Tensor, tokens: int, dtype: torch.dtype) -> tuple[Tensor, bool]:
        """What of the core W does not carry, and whether that is more than nothing; written into W where it pays.

        Values are compared, not counted: an update by any road (a step, a load, ``.data``) is seen.
        """
        if self.execution == "merged":
            self._check_may_merge(dtype)
        if self.carried is None:
            return core, True
        now = core.detach()
        if self._hindrance(dtype) is not None:
            self.unmerge_()
            return core, True
        if self._written is not None and not self._bears():
            self._forget()
        if is_dataless(now) or not torch.equal(now, self.carried):
            if not self._writes(now, tokens):
                return core - self.carried, True
            self.weight.data = self._plus(self.weight.detach(), now - self.carried)
            self._written = None if is_dataless(now) else self.weight.untyped_storage()
            self.carried.copy_(now)
        return core - self.carried, False

    def _writes(self, core_RC: Tensor, tokens: int) -> bool:
        # An update that has diverged, or is not finite, would cost W its digits for good. W's own norm is read once:
        # a pass over every W in every step would cost a hundredth of the step.
        if self._limit is None:
            self._limit = _DIVERGED * torch.linalg.vector_norm(self.weight.detach())
        if not is_dataless(core_RC) and not torch.linalg.vector_norm(core_RC) <= self._limit:
            return False
        if self.execution == "merged":
            return True
        rows, cols = self.core_shape
        sizes = {"tokens": tokens, "inner": self.in_features, "out": self.out_features, "rows": rows, "cols": cols}
        return core_is_cheaper_written(**sizes)

    def _hindrance(self, dtype: torch.dtype) -> str | None:
        """Why W may not carry the update where products are in ``dtype``; None where it may."""
        for told in (self.weight.dtype, dtype):
            if told not in (torch.float32, torch.float64):
                return f"{told} would round the steps away"
        if "forward" in vars(self):  # accelerate's hooks put one there
            return "offloading puts another weight in its place for each forward"
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
            return "several processes train, and each would write its own weight"
        return None

    def _check_may_merge(self, dtype: torch.dtype) -> None:
        if (why := self._hindrance(dtype)) is not None:
            raise SparseGradError(f"{self.name}: execution='merged' is not exact here ({why}); give 'additive'")

    def _provide_carried(self) -> None:
        """A zero core that W may come to carry, where the execution and W's dtype allow it."""
        self._limit = self._written = None
        may = self.execution != "additive" and self.weight.dtype in (torch.float32, torch.float64)
        self.carried = torch.zeros(self.core_shape, dtype=self.values.dtype, device=self.values.device) if may else None

    @torch.inference_mode(False)  # a weight made in it could not be trained with afterwards
    @torch.no_grad()
    def _plus(self, weight: Tensor, core_RC: Tensor) -> Tensor:
        """weight + V_R^T core U_C, rounded once into weight's dtype; a new tensor."""
        return self.slices.unrotate(core_RC).add_(weight).to(weight.dtype)

    def unmerge_(self) -> None:
        """Take out of W what it carries; another W may follow."""
        if self._carries():
            self.weight.data = self.base_weight()
        self._forget()

    def _forget(self) -> None:
        """W carries nothing."""
        self._limit = self._written = None
        if self.carried is not None and not is_dataless(self.carried):
            self.carried.zero_()

    def __getstate__(self) -> dict[str, Any]:
        # A copy's weight has a storage of its own, which is not known yet.
        return {**vars(self), "_written": self._bears()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._written = self.weight.untyped_storage() if state["_written"] else None

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Before a cast or a move W gives back what it carries; ``values`` and their kin stay in at least fp32."""
        self.unmerge_()
        before = {
            name: tensor.data for name in ("values", "settled", "energy") if (tensor := getattr(self, name)) is not None
        }
        gradient, self.values.grad = self.values.grad, None
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, old in before.items():
            moved = getattr(self, name)
            if moved.dtype not in (torch.float32, torch.float64):
                moved.data = old.to(device=moved.device)
        if gradient is not None:
            self.values.grad = gradient.to(self.values)
        self._provide_carried()
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        # The layer goes on from the very W it hands out: what is taken out of W again is right to rounding alone, and a
        # run that resumes from this state is to be the run that wrote it, bit for bit.
        self.unmerge_()
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        told = {name: state_dict.get(f"{prefix}{name}_fingerprint") for name in ("basis", "base")}
        brings_weight = f"{prefix}weight" in state_dict
        if told["basis"] is None and brings_weight:
            raise BasesMismatch(
                f"{self.name}: this state dict holds a plain linear's weight; load it before convert, or after revert"
            )
        for name, own in (("basis", self.basis_fingerprint), ("base", self.base_fingerprint)):
            given = told[name]
            # With its weight, a state brings its base along.
            if given is not None and not torch.equal(given.cpu(), own.cpu()) and not (name == "base" and brings_weight):
                other = "in other bases" if name == "basis" else "on other weights"
                raise BasesMismatch(f"{self.name}: this state dict was saved {other} than the layer has")
        if brings_weight:
            self.unmerge_()  # first: a load that fails halfway leaves the layer's own W
        settled = state_dict.get(f"{prefix}settled")
        if settled is not None and self.settled is None:
            self.settled = torch.zeros_like(settled, device=self.values.device)
        elif settled is None and f"{prefix}values" in state_dict:  # a state of before the first refresh
            self.settled = None
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """Sizes, core, entries and execution, for print(model)."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, "
            f"core={self.core_shape}, kept={len(self.values)}, execution={self.execution}"
        )
