"""The tuner's layer: a linear as it was, and beside it one small trainable core for each adapter.

    y = base_layer(x) + x U_C^T S^T V_R,   S (r, c) zero but for ``values`` at ``indices``

The base weight is not touched except by merge. See ``sparsegrad.additive`` for the derivatives.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from peft.tuners._buffer_dict import BufferDict
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, nn
from torch.nn.functional import linear

from ..additive import frozen_plus_core
from ..core import Slices
from ..errors import SparseGradError
from ..roles import is_transposed, shape_of, weight_of
from .config import SparseGradConfig
from .sources import Support

# Root mean square of a drawn update: that of a Transformer's weights when they are new (BERT, GPT-2).
_DRAWN = 0.02


class SparseGradTunerLinear(nn.Module, BaseTunerLayer):
    """An ``nn.Linear`` or GPT-2's ``Conv1D`` with SparseGrad adapters, each by its name.

    ``sparsegrad_values`` (k,) trains; ``sparsegrad_indices`` (k,) int32, ``sparsegrad_u`` (c, in) and ``sparsegrad_v``
    (r, out) are persistent buffers. With one active adapter over a plain frozen linear, x U_C^T alone is saved for
    backward and rows of the gradient that are zero are left out; several adapters, torch.compile, hooks on the base
    layer or a base weight that trains go through autograd's own operations: the same numbers.
    """

    adapter_layer_names = ("sparsegrad_values",)
    other_param_names = ("sparsegrad_indices", "sparsegrad_u", "sparsegrad_v")

    def __init__(self, base_layer: nn.Module, adapter_name: str, support: Support, config: SparseGradConfig) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.sparsegrad_values = nn.ParameterDict()
        self.sparsegrad_indices = BufferDict(persistent=True)
        self.sparsegrad_u = BufferDict(persistent=True)
        self.sparsegrad_v = BufferDict(persistent=True)
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self.out_features, self.in_features = shape_of(self.get_base_layer())
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, support, config)

    def update_layer(self, adapter_name: str, support: Support, config: SparseGradConfig) -> None:
        """Add an adapter, or replace the one of that name."""
        values = torch.zeros(len(support.indices))
        if not config.init_weights:  # rows are orthonormal: the k entries hold the update's whole norm
            values.normal_(std=_DRAWN * (self.out_features * self.in_features / len(values)) ** 0.5)
        self.sparsegrad_values[adapter_name] = nn.Parameter(values.to(support.u))
        self.sparsegrad_indices[adapter_name] = support.indices
        self.sparsegrad_u[adapter_name] = support.u
        self.sparsegrad_v[adapter_name] = support.v
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        """As PEFT's, but values keep their dtype: the base layer's may be too narrow for what they have learned."""
        if adapter_name not in self.sparsegrad_values:
            return
        weight, values = weight_of(self.get_base_layer()), self.sparsegrad_values[adapter_name]
        device = weight.device if device is None else device
        if values.device != device and not values.is_meta:
            self.sparsegrad_values[adapter_name] = nn.Parameter(values.detach().to(device), values.requires_grad)
        self.sparsegrad_indices[adapter_name] = self.sparsegrad_indices[adapter_name].to(device)
        for held in (self.sparsegrad_u, self.sparsegrad_v):
            held[adapter_name] = held[adapter_name].to(device, weight.dtype)

    def support(self, adapter_name: str) -> Support:
        """Slices and indices of an adapter: the buffers themselves."""
        return Support(
            u=self.sparsegrad_u[adapter_name],
            v=self.sparsegrad_v[adapter_name],
            indices=self.sparsegrad_indices[adapter_name],
        )

    def core(self, adapter_name: str) -> Tensor:
        """S (r, c) of an adapter, differentiable in its values."""
        values, places = self.sparsegrad_values[adapter_name], self.sparsegrad_indices[adapter_name]
        rows, cols = len(self.sparsegrad_v[adapter_name]), len(self.sparsegrad_u[adapter_name])
        empty: Tensor = values.new_zeros(rows * cols)
        return empty.index_add(0, places, values).view(rows, cols)

    def get_delta_weight(self, adapter_name: str) -> Tensor:
        """V_R^T S U_C as the base weight lies: (out, in), or (in, out) for Conv1D; in at least fp32."""
        slices = Slices(self.sparsegrad_u[adapter_name], self.sparsegrad_v[adapter_name])
        delta_OI = slices.unrotate(self.core(adapter_name).detach())
        return delta_OI.T if is_transposed(self.get_base_layer()) else delta_OI

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add the active adapters, or those named, into the base weight; ``unmerge`` takes them out again.

        Raises:
            SparseGradError: with ``safe_merge``, where the weight would hold NaN or infinity; it is left as it was.
        """
        for name in check_adapters_to_merge(self, adapter_names):
            if name not in self.sparsegrad_values:
                continue
            merged = self._weight_plus(self.get_delta_weight(name))
            if safe_merge and not torch.isfinite(merged).all():
                raise SparseGradError(f"NaNs detected in the merged weights. The adapter {name} seems to be broken")
            self.set_base_weight(merged)
            self.merged_adapters.append(name)

    def unmerge(self) -> None:
        """Take every merged adapter out of the base weight (to rounding)."""
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
        while self.merged_adapters:
            self.set_base_weight(self._weight_plus(-self.get_delta_weight(self.merged_adapters.pop())))

    @torch.inference_mode(False)  # a weight made in it could not be trained with afterwards
    @torch.no_grad()
    def _weight_plus(self, change: Tensor) -> Tensor:
        """The base weight plus a change of its shape, rounded once into its dtype."""
        weight = self.get_base_weight()
        return (weight.to(change.dtype) + change).to(weight.dtype).contiguous()

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The base layer's output, plus each active adapter's; dtype and shape of the base layer's."""
        if self.disable_adapters and self.merged:
            self.unmerge()
        active = [] if self.disable_adapters or self.merged else self.active_adapters
        names = [name for name in active if name in self.sparsegrad_values]
        if len(names) == 1 and not args and not kwargs and self._takes(x):
            return self._fused(x, names[0])
        y: Tensor = self.base_layer(x, *args, **kwargs)
        for name in names:
            y = y + self._added(x, name).to(y.dtype)
        return y

    def _added(self, x: Tensor, name: str) -> Tensor:
        u_CI, v_RO, core_RC = (
            t.to(x.dtype) for t in (self.sparsegrad_u[name], self.sparsegrad_v[name], self.core(name))
        )
        return linear(linear(x, u_CI), core_RC) @ v_RO

    def _takes(self, x: Tensor) -> bool:
        """Whether the base layer is x W^T + b, frozen, and nothing else happens in it: what the Function stands for."""
        base = self.base_layer
        if torch.compiler.is_compiling() or not (type(base) is nn.Linear or is_transposed(base)):
            return False
        weight, bias = base.weight, base.bias
        assert isinstance(weight, Tensor)
        hooks = (base._forward_hooks, base._forward_pre_hooks, base._backward_hooks, base._backward_pre_hooks)
        return (
            type(weight) is nn.Parameter
            and not weight.requires_grad
            and not (isinstance(bias, Tensor) and bias.requires_grad)
            and not any(hooks)
            and "forward" not in vars(base)  # accelerate's hooks put one there
            and (x.dtype == weight.dtype or torch.is_autocast_enabled(x.device.type))
        )

    def _fused(self, x: Tensor, name: str) -> Tensor:
        base, kind, dtype = self.base_layer, x.device.type, x.dtype
        if torch.is_autocast_enabled(kind) and dtype is not torch.float64:
            dtype = torch.get_autocast_dtype(kind)
        weight, bias = weight_of(base), base.bias
        y_TO = frozen_plus_core(
            x.reshape(-1, self.in_features),
            self.core(name),
            weight.T if is_transposed(base) else weight,
            bias if isinstance(bias, Tensor) else None,
            self.support(name),
            dtype,
            True,
        )
        return y_TO.view(*x.shape[:-1], self.out_features)

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """True: the update is additive, of rank min(r, c) at most."""
        return True

    def __repr__(self) -> str:
        return f"sparsegrad.{super().__repr__()}"
