"""Save a converted model in one file, and load it into a fresh one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import adapter
from .bases import placed, read_safetensors, write_safetensors
from .convert import Converted, set_module
from .errors import BasesMismatch, SparseGradError
from .linear import SparseGradLinear
from .roles import is_linear, shape_of, weight_of
from .rotation import Rotation

FILE = "sparsegrad.safetensors"
FORMAT = 1


def save(model: nn.Module, folder: str | os.PathLike[str], *, half: bool = False) -> Path:
    """Write what ``load`` needs to make a plain model into this one; returns the file's path.

    One file, written aside and renamed, so that a kill leaves the old or the new one, never a mixture. Of a model with
    dynamic support ``folder/sparsegrad.safetensors``: its whole state, its bases, and how it was converted. Of a
    compact one ``folder/sparsegrad_adapter.safetensors``: values, places, slices, and what else trains (the head);
    the base model is known again by a fingerprint of its weights. ``half``: store the slices in fp16 (compact alone),
    which changes the function by their rounding.

    Raises:
        SparseGradError: the model has no SparseGrad layer, or ``half`` where there are no slices.
    """
    if adapter.compact_layers(model):
        return adapter.save_adapter(model, Path(folder), half=half)
    if half:
        raise SparseGradError("half=True stores a compact model's slices in fp16; this model has none")
    layers = {name: m for name, m in model.named_modules() if isinstance(m, SparseGradLinear)}
    if not layers:
        raise SparseGradError("nothing to save: the model has no SparseGrad layer (convert it first)")
    state, tied = _without_twins(model.state_dict())
    tensors = {f"state/{name}": tensor for name, tensor in state.items()}
    rotations = list({id(layer.rotation): layer.rotation for layer in layers.values()}.values())
    for at, rotation in enumerate(rotations):
        tensors.update({f"bases/{at}/{side}": m for side in ("u", "v") if (m := getattr(rotation, side)) is not None})
    numbers = {id(rotation): at for at, rotation in enumerate(rotations)}
    header = {
        "format": FORMAT,
        "model": type(model).__name__,
        "tied": tied,
        "layers": {name: _options(layer) | {"basis": numbers[id(layer.rotation)]} for name, layer in layers.items()},
    }
    return write_safetensors(Path(folder) / FILE, tensors, header)


def load(model: nn.Module, folder: str | os.PathLike[str]) -> nn.Module:
    """Convert ``model`` (a plain one of the same architecture) as the saved one was and give it its state, in place.

    Returns ``model``. Every tensor is checked before the first is written. A compact model's base weights are not in
    its file: ``model`` must hold them.

    Raises:
        BasesMismatch: no such file, a damaged one, another architecture, or an adapter for other weights.
        SparseGradError: the model is converted already, or the folder holds files of both kinds.
    """
    path, other = Path(folder) / FILE, Path(folder) / adapter.FILE
    if path.is_file() and other.is_file():
        raise SparseGradError(f"{folder} holds {FILE} and {adapter.FILE}: move one of them away")
    if other.is_file():
        if any(isinstance(module, Converted) for module in model.modules()):
            raise SparseGradError("the model is converted already: load into a plain one")
        return adapter.load_adapter(model, Path(folder))
    tensors, header = read_safetensors(path)
    if header.get("format") != FORMAT or not {"tied", "layers"} <= header.keys():
        raise BasesMismatch(f"{path} is no saved model of format {FORMAT} (format {header.get('format')})")
    if any(isinstance(module, Converted) for module in model.modules()):
        raise SparseGradError("the model is converted already: load into a plain one")
    state = {name.removeprefix("state/"): tensor for name, tensor in tensors.items() if name.startswith("state/")}
    tied = _without_twins(model.state_dict())[1]
    if tied != header["tied"]:
        raise BasesMismatch(
            f"{path} ties {header['tied'] or 'nothing'}, {type(model).__name__} ties {tied or 'nothing'}"
        )
    try:
        state |= {twin: state[name] for twin, name in header["tied"].items()}
        layers = _rebuild(model, tensors, header["layers"], str(path))
    except (KeyError, TypeError, AttributeError) as error:
        raise BasesMismatch(f"{path} is damaged: {error!r} in its header") from None
    _check(model, layers, state, str(path))
    for name, layer in layers.items():
        set_module(model, name, layer)
    model.load_state_dict(state)
    return model


def _options(layer: SparseGradLinear) -> dict[str, Any]:
    names = ("kept", "execution", "accumulate", "transposed")
    return {name: getattr(layer, name) for name in names} | {"shape": list(layer.weight.shape)}


def _without_twins(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The state with each storage once, and name -> name of the twin that is kept (tied weights)."""
    first: dict[tuple[int, torch.Size, torch.dtype], str] = {}
    tied: dict[str, str] = {}
    for name, tensor in state.items():
        place = (tensor.data_ptr(), tensor.shape, tensor.dtype)
        if tensor.numel() and first.setdefault(place, name) != name:
            tied[name] = first[place]
    return {name: tensor for name, tensor in state.items() if name not in tied}, tied


def _rebuild(
    model: nn.Module, tensors: dict[str, Tensor], options: dict[str, dict[str, Any]], source: str
) -> dict[str, SparseGradLinear]:
    """The saved layers, on the device and in the dtype of the linears they replace; weights still to be loaded."""
    modules = dict(model.named_modules())
    rotations: dict[tuple[int, torch.device, torch.dtype], Rotation] = {}
    layers = {}
    for name, told in options.items():
        plain = modules.get(name)
        if plain is None or not is_linear(plain):
            raise BasesMismatch(f"{source} has a layer {name!r}, and {type(model).__name__} has no such linear")
        if shape_of(plain) != tuple(told["shape"]):
            raise BasesMismatch(f"{source}: {name} is {told['shape']} (out, in), here it is {list(shape_of(plain))}")
        weight = weight_of(plain)
        key = (told["basis"], weight.device, weight.dtype)
        if key not in rotations:
            u, v = (tensors.get(f"bases/{told['basis']}/{side}") for side in ("u", "v"))
            rotations[key] = Rotation(
                placed(u, weight.device, weight.dtype),
                placed(v, weight.device, weight.dtype),
                fingerprint=tensors[f"state/{name}.basis_fingerprint"][:-1],
            )
        layer = SparseGradLinear(
            torch.empty(shape_of(plain), device=weight.device, dtype=weight.dtype),
            plain.bias.detach().clone() if isinstance(plain.bias, Tensor) else None,
            rotations[key],
            kept=told["kept"],
            execution=told["execution"],
            accumulate=told["accumulate"],
            transposed=told["transposed"],
            name=name,
        )
        layer.weight.requires_grad_(weight.requires_grad)
        layers[name] = layer.train(plain.training)
    return layers


def _check(model: nn.Module, layers: dict[str, SparseGradLinear], state: dict[str, Tensor], source: str) -> None:
    """Every tensor the converted model will have stands in ``state`` with its shape, and nothing else does."""
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for name, layer in layers.items():
        expected = {key: shape for key, shape in expected.items() if not key.startswith(f"{name}.")}
        expected |= {f"{name}.{key}": tensor.shape for key, tensor in layer.state_dict().items()}
    given = {name: tensor.shape for name, tensor in state.items()}
    different = [key for key in sorted({*expected, *given}) if expected.get(key) != given.get(key)]
    if different:
        key = different[0]
        raise BasesMismatch(
            f"{source} is of another model than {type(model).__name__}: {key} is {_told(given.get(key))} in the file "
            f"and {_told(expected.get(key))} here"
        )


def _told(shape: torch.Size | None) -> str:
    return "absent" if shape is None else str(tuple(shape))
