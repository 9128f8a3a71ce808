"""The tuner: finds the linears of an adapter, checks them all, and then puts the layers in."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import (
    BaseTuner,
    BaseTunerLayer,
    _maybe_include_all_linear_layers,
    check_target_module_exists,
)
from peft.utils import resolve_quantization_backend
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from ..errors import NoTargets, SparseGradError
from ..roles import check_weight, is_linear, is_transposed
from .config import SparseGradConfig
from .layer import SparseGradTunerLinear
from .sources import Source, plain_name, source_of


class SparseGradModel(BaseTuner):
    """A model with SparseGrad adapters; made by ``get_peft_model(model, SparseGradConfig(...))``.

    Args:
        model: the model to adapt, changed in place. peft_config: a ``SparseGradConfig``, or one for each adapter
        name. adapter_name: of the first adapter.
    Raises:
        SparseGradError: a quantised or tied linear, entries or a core that do not fit, other bases, no targets. The
            model is left as it was.
        TypeError: a target that is no linear.
    """

    prefix = "sparsegrad_"
    tuner_layer_cls = SparseGradTunerLinear

    def inject_adapter(
        self,
        model: nn.Module,
        adapter_name: str,
        autocast_adapter_dtype: bool = True,
        low_cpu_mem_usage: bool = False,
        state_dict: dict[str, Tensor] | None = None,
    ) -> None:
        """As BaseTuner's; the bases are read once before, and let go after."""
        config = self.peft_config[adapter_name]
        assert isinstance(config, SparseGradConfig)
        self._source: Source | None = source_of(config, awaits_file=low_cpu_mem_usage)
        try:
            super().inject_adapter(model, adapter_name, autocast_adapter_dtype, low_cpu_mem_usage, state_dict)
        finally:
            self._source = None

    def _prepare_adapter_config(self, peft_config: PeftConfig, model_config: dict[str, Any]) -> PeftConfig:
        """``target_modules`` as names where none are given."""
        assert isinstance(peft_config, SparseGradConfig) and self._source is not None
        if peft_config.target_modules is None:
            try:
                names = self._source.names(self.model)
            except NoTargets as error:
                raise NoTargets(f"Please specify `target_modules` in `peft_config`: {error}") from None
            chosen = {name for name in names if _in_chosen_block(peft_config, name)}
            if not chosen:
                raise NoTargets(f"layers_to_transform={peft_config.layers_to_transform}: none of {', '.join(names)}")
            peft_config.target_modules = chosen
        return peft_config

    def _prepare_model(self, peft_config: PeftConfig, model: nn.Module) -> None:
        """Every check of every target, so that an error comes before the first layer is replaced."""
        assert isinstance(peft_config, SparseGradConfig) and self._source is not None
        _maybe_include_all_linear_layers(peft_config, model)
        linears, owners = dict(self._targets(peft_config, model)), list(model.named_parameters(remove_duplicate=False))
        for name, module in linears.items():
            _check_linear(plain_name(name), module)
            check_weight(name, module, owners, word="exclude_modules")
        self._source.check(model, {plain_name(name): module for name, module in linears.items()})

    def _targets(self, config: SparseGradConfig, model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """Name and module of each target, below the adapters it has already."""
        inside = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, BaseTunerLayer))
        for name, module in model.named_modules():
            if name and not name.startswith(inside) and self._check_target_module_exists(config, name):
                while isinstance(module, BaseTunerLayer):
                    name, module = f"{name}.base_layer", module.base_layer  # type: ignore[attr-defined]
                yield name, module

    def _create_and_replace(
        self,
        peft_config: PeftConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        """A layer over ``target``, or one adapter more in the layer it is already."""
        assert isinstance(peft_config, SparseGradConfig) and self._source is not None
        base = target.get_base_layer() if isinstance(target, BaseTunerLayer) else target
        assert isinstance(base, nn.Module)
        _check_linear(current_key, base)
        if peft_config.fan_in_fan_out not in (None, is_transposed(base)):
            warnings.warn(
                f"fan_in_fan_out is set to {peft_config.fan_in_fan_out} but the target module {current_key} is "
                f"`{type(base).__name__}`: its weight is taken as it lies.",
                stacklevel=2,
            )
        support = self._source.support(current_key, base)
        if isinstance(target, SparseGradTunerLinear):
            target.update_layer(adapter_name, support, peft_config)
            return
        layer = SparseGradTunerLinear(target, adapter_name, support, peft_config)
        self._replace_module(parent, target_name, layer, target)

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        """Half-precision values become fp32, so that small steps add up; slices do not learn and stay as they are."""
        for module in self.model.modules():
            if autocast_adapter_dtype and isinstance(module, SparseGradTunerLinear):
                held = module.sparsegrad_values
                if adapter_name in held and held[adapter_name].dtype in (torch.float16, torch.bfloat16):
                    values = held[adapter_name]
                    held[adapter_name] = nn.Parameter(values.detach().float(), values.requires_grad)

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        """PeftModel hands this what it takes out of a call and the base model never sees."""
        if kwargs.get("adapter_names") is not None:
            raise ValueError(
                "adapter_names: SparseGrad has no mixed batches, in which each sample names its adapter; choose one "
                "for the whole batch with set_adapter"
            )
        yield


def _in_chosen_block(config: SparseGradConfig, name: str) -> bool:
    """Whether ``layers_to_transform`` has the block of a linear.

    PEFT looks at it where a target is an ending of the name, and not where it is all of it: it is asked by the ending.
    """
    if config.layers_to_transform is None:
        return True
    ending = replace(config, target_modules={name.partition(".")[2]}, exclude_modules=None, modules_to_save=None)
    return bool(check_target_module_exists(ending, name))


def _check_linear(name: str, module: nn.Module) -> None:
    if resolve_quantization_backend(module) is not None:
        raise SparseGradError(
            f"{name} is a {type(module).__name__}, whose weights are quantised: SparseGrad adapts floating-point "
            "weights; load the model unquantised, or leave this layer out with exclude_modules"
        )
    if isinstance(module, NonDynamicallyQuantizableLinear):
        raise SparseGradError(
            f"{name} is the projection of an nn.MultiheadAttention, which reads its weight and never calls it: an "
            "adapter would learn nothing; leave this layer out with exclude_modules"
        )
    if not is_linear(module):
        raise TypeError(
            f"Target module {name}, a {type(module).__name__}, is not supported. Currently, only the following modules "
            "are supported: `torch.nn.Linear`, `transformers.pytorch_utils.Conv1D`."
        )
