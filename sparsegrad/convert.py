"""Put SparseGrad layers into a model, and take them out again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from .bases import Bases
from .compact import COMPACT_EXECUTIONS, CompactExecution, CompactLinear
from .core import Core, check_core, default_core, strongest
from .errors import BasesMismatch, SparseGradError
from .executions import EXECUTIONS, ExecutionName
from .linear import SparseGradLinear
from .roles import Target, check_weight, find_targets, is_linear, shape_of
from .support import resolve_kept

Support = Literal["dynamic", "fixed"]
Converted = SparseGradLinear | CompactLinear


def convert(
    model: nn.Module,
    bases: Bases,
    *,
    kept: int | float = 0.01,
    support: Support = "dynamic",
    core: Core | None = None,
    execution: ExecutionName | CompactExecution | None = None,
    accumulate: bool = True,
    targets: str | None = None,
    every: int | None = None,
) -> nn.Module:
    """Replace the MLP linears ``bases`` were made for, in place; returns ``model``.

    All layers are built before the first is put in, so that an error leaves the model as it was.

    Args:
        bases: from ``calibrate`` on this model's present weights.
        kept: entries of each layer's gradient that live: a count such as 22_000 (int) or a share such as 0.01 (float).
        support: "dynamic": the top-k of every step, in a ``SparseGradLinear`` whose weight requires grad as the
            old one did. "fixed": the k of most calibration energy in a core, in a ``CompactLinear``, which trains
            ``values`` (k,) alone.
        core: (r, c) of a fixed support; default: the smallest square divisible by 32 that holds ``kept`` entries, each
            side clipped to the layer.
        execution: dynamic: "regular", "sd" (default) or "planned"; fixed: "planned" (default), "additive" or "merged".
            Each computes the same numbers in another way (see ``executions`` and ``compact``).
        accumulate: dynamic: whether gradient accumulation is to select from the summed gradient; costs a dense buffer
            of each weight's size from backward to ``zero_grad``.
        targets, every: convert only these of the linears (as ``roles.find_targets``); default: all that the bases name.
    Raises:
        BasesMismatch: bases of another model or shape, or without what ``support`` needs.
        SparseGradError: unknown options, ``kept`` beyond a layer or its core, or a model that is converted already.
    """
    _check_options(support, core, execution)
    if support == "fixed" and not accumulate:
        raise SparseGradError("accumulate=False is for support='dynamic': fixed support has no buffer to spare")
    if any(isinstance(module, Converted) for module in model.modules()):
        raise SparseGradError("the model is converted already: revert it first")
    chosen = find_named(model, bases)
    bases.check_model(type(model).__name__, chosen)
    if targets is not None or every is not None:
        wanted = [t.name for t in find_targets(model, targets=targets, every=1 if every is None else every)]
        if unknown := [name for name in wanted if name not in bases.layers]:
            raise BasesMismatch(f"no basis for {unknown[0]}: calibrate with the same targets= and every=")
        chosen = [target for target in chosen if target.name in wanted]
    layers: Mapping[str, Converted]
    if support == "fixed":
        layers = _compact(chosen, bases, kept, core, execution or "planned")
    else:
        layers = _dynamic(chosen, bases, kept, execution or "sd", accumulate)
    for name, layer in layers.items():
        set_module(model, name, layer)
    return model


def _check_options(support: str, core: Core | None, execution: str | None) -> None:
    known = {"dynamic": tuple(EXECUTIONS), "fixed": COMPACT_EXECUTIONS}
    if support not in known:
        raise SparseGradError(f"support={support!r}: give 'dynamic' or 'fixed'")
    if execution is not None and execution not in known[support]:
        raise SparseGradError(f"execution={execution!r}: with support={support!r} give {', '.join(known[support])}")
    if core is not None and support != "fixed":
        raise SparseGradError(f"core={core!r} is for support='fixed'")


def _dynamic(
    chosen: list[Target], bases: Bases, kept: int | float, execution: Any, accumulate: bool
) -> dict[str, SparseGradLinear]:
    rotations = bases.rotations(chosen)
    return {
        target.name: SparseGradLinear.from_linear(
            target.module,
            rotations[target.name],
            kept=kept,
            execution=execution,
            accumulate=accumulate,
            name=target.name,
        )
        for target in chosen
    }


def _compact(
    chosen: list[Target], bases: Bases, kept: int | float, core: Core | None, execution: Any
) -> dict[str, CompactLinear]:
    places: dict[str, tuple[int, Core]] = {}
    for target in chosen:
        out, inner = shape_of(target.module)
        entries = resolve_kept(kept, out * inner, layer=target.name)
        wanted = core or default_core(entries, out, inner)
        places[target.name] = entries, check_core(wanted, entries, out, inner, layer=target.name)
    slices = bases.slices({target.name: (target, places[target.name][1]) for target in chosen})
    layers = {}
    for target in chosen:
        entries, (rows, cols) = places[target.name]
        energy_RC = bases.energies[target.name][:rows, :cols]
        layers[target.name] = CompactLinear.from_linear(
            target.module,
            slices[target.name],
            strongest(energy_RC, entries),
            execution=execution,
            name=target.name,
        )
    return layers


def revert(model: nn.Module) -> nn.Module:
    """Put plain linears (GPT-2: Conv1D) with the trained W in place of every SparseGrad layer; returns ``model``."""
    for name, module in list(model.named_modules()):
        if isinstance(module, Converted):
            set_module(model, name, plain_linear(module))
    return model


def plain_linear(layer: Converted) -> nn.Module:
    """The linear a SparseGrad layer stands for, with the flags of its parameters."""
    w_OI = layer.merged_weight()
    out, inner = w_OI.shape
    trains, bias_trains = layer.source_trains
    if layer.transposed:
        from transformers.pytorch_utils import Conv1D

        with torch.device("meta"):  # it would draw its weight from the global generator
            linear: nn.Module = Conv1D(out, inner)
        linear.weight = nn.Parameter(w_OI.T.contiguous(), requires_grad=trains)
    else:
        linear = nn.Linear(inner, out, bias=layer.bias is not None, device="meta")
        linear.weight = nn.Parameter(w_OI, requires_grad=trains)
    if layer.bias is not None:
        linear.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=bias_trains)
    return linear.train(layer.training)


def find_named(model: nn.Module, bases: Bases) -> list[Target]:
    """The model's linears that ``bases`` name; those it lacks (or that are none) ``Bases.check_model`` reports.

    Raises:
        SparseGradError: a weight is quantised, or tied to another.
    """
    modules, owners = dict(model.named_modules()), list(model.named_parameters(remove_duplicate=False))
    found = []
    for name, (role, _) in bases.layers.items():
        if name in modules and is_linear(modules[name]):
            check_weight(name, modules[name], owners)
            found.append(Target(name=name, module=modules[name], role=role, block=0))
    return found


def set_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Replace the submodule of that qualified name."""
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)
