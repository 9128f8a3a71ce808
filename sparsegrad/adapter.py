"""The file of a compact model: what it adds to its base model, and how to know that base again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .bases import placed, read_safetensors, write_safetensors
from .compact import CompactLinear
from .convert import set_module
from .core import Slices
from .errors import BasesMismatch
from .roles import check_weight, is_linear, shape_of, weight_of

FILE = "sparsegrad_adapter.safetensors"
FORMAT = 1


def compact_layers(model: nn.Module) -> dict[str, CompactLinear]:
    """The model's compact layers by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, CompactLinear)}


def layer_tensors(layers: Mapping[str, CompactLinear]) -> dict[str, Tensor]:
    """What has to be kept of these layers beside their base weights: values, places, and each pair of slices once."""
    tensors: dict[str, Tensor] = {}
    for name, layer in layers.items():
        tensors |= {f"values/{name}": layer.values.detach(), f"places/{name}": layer.places}
        if layer.settled is not None:
            tensors[f"settled/{name}"] = layer.settled
    for slices, at in _numbered(layers).items():
        tensors |= {f"slices/{at}/u": slices.u, f"slices/{at}/v": slices.v}
    return tensors


def _numbered(layers: Mapping[str, CompactLinear]) -> dict[Slices, int]:
    distinct = dict.fromkeys(layer.slices for layer in layers.values())
    return {slices: at for at, slices in enumerate(distinct)}


def save_adapter(model: nn.Module, folder: Path, *, half: bool) -> Path:
    """Write ``folder/sparsegrad_adapter.safetensors``: the layers, and every other parameter that trains."""
    layers = compact_layers(model)
    inside = {id(p) for layer in layers.values() for p in layer.parameters()}
    tensors = {
        name: tensor.half() if half and name.startswith("slices/") else tensor
        for name, tensor in layer_tensors(layers).items()
    }
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in inside:
            tensors[f"state/{name}"] = parameter.detach().clone()  # safetensors refuses shared storages
    numbers = _numbered(layers)
    header = {
        "format": FORMAT,
        "model": type(model).__name__,
        "layers": {
            name: {
                "shape": [layer.out_features, layer.in_features],
                "slices": numbers[layer.slices],
                "basis": layer.basis_fingerprint.tolist(),
                "base": layer.base_fingerprint.tolist(),
                "additive": layer.execution == "additive",
            }
            for name, layer in layers.items()
        },
    }
    return write_safetensors(folder / FILE, tensors, header)


def load_adapter(model: nn.Module, folder: Path) -> nn.Module:
    """Put the layers of the file into a plain ``model`` with the same base weights; checked before the first is put in.

    Raises:
        BasesMismatch: a damaged file, another architecture, or other base weights.
    """
    path = folder / FILE
    tensors, header = read_safetensors(path)
    if header.get("format") != FORMAT:
        raise BasesMismatch(f"{path} is an adapter of format {header.get('format')}, this version reads {FORMAT}")
    state = {name.removeprefix("state/"): tensor for name, tensor in tensors.items() if name.startswith("state/")}
    try:
        layers = _rebuilt(model, tensors, header["layers"], path)
    except (KeyError, TypeError, AttributeError, RuntimeError, IndexError) as error:
        raise BasesMismatch(f"{path} is damaged: {error!r}") from None
    parameters = dict(model.named_parameters())
    for name, tensor in state.items():
        if name not in parameters or parameters[name].shape != tensor.shape:
            here = "absent" if name not in parameters else str(tuple(parameters[name].shape))
            raise BasesMismatch(
                f"{path} trained {name} {tuple(tensor.shape)}, which is {here} in {type(model).__name__}"
            )
    for name, layer in layers.items():
        set_module(model, name, layer)
    with torch.no_grad():
        for name, tensor in state.items():
            parameters[name].copy_(tensor)
    return model


def _rebuilt(
    model: nn.Module, tensors: Mapping[str, Tensor], options: Mapping[str, dict[str, Any]], path: Path
) -> dict[str, CompactLinear]:
    modules, owners = dict(model.named_modules()), list(model.named_parameters(remove_duplicate=False))
    made: dict[tuple[Any, ...], Slices] = {}
    layers = {}
    for name, told in options.items():
        plain = modules.get(name)
        if plain is None or not is_linear(plain):
            raise BasesMismatch(f"{path} has a layer {name!r}, and {type(model).__name__} has no such linear")
        if list(shape_of(plain)) != told["shape"]:
            raise BasesMismatch(f"{path}: {name} is {told['shape']} (out, in), here it is {list(shape_of(plain))}")
        check_weight(name, plain, owners)
        weight = weight_of(plain)
        key = (told["slices"], weight.device, weight.dtype)
        if key not in made:
            u, v = (placed(tensors[f"slices/{told['slices']}/{side}"], weight.device, weight.dtype) for side in "uv")
            assert u is not None and v is not None
            made[key] = Slices(u, v, fingerprint=torch.tensor(told["basis"], dtype=torch.uint8))
        execution: Any = "additive" if told["additive"] else "planned"
        places, values = tensors[f"places/{name}"], tensors[f"values/{name}"]
        if places.shape != values.shape or not 0 <= places.min() <= places.max() < len(made[key].u) * len(made[key].v):
            raise IndexError(f"places/{name}")
        layer = CompactLinear.from_linear(plain, made[key], places, execution=execution, name=name)
        if layer.base_fingerprint.tolist() != told["base"]:
            raise BasesMismatch(
                f"{path} was trained on other weights of {name} than {type(model).__name__} holds: load the base model "
                "it was made from"
            )
        with torch.no_grad():
            layer.values.copy_(values)
        if (settled := tensors.get(f"settled/{name}")) is not None:
            layer.settled = settled.to(layer.values)
        layers[name] = layer
    return layers
