"""Put SparseGrad layers into a model, and take them out again."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from .bases import Bases
from .errors import BasesMismatch, SparseGradError
from .executions import ExecutionName
from .linear import SparseGradLinear
from .roles import Target, find_targets, is_linear


def convert(
    model: nn.Module,
    bases: Bases,
    *,
    kept: int | float = 0.01,
    support: Literal["dynamic"] = "dynamic",
    execution: ExecutionName = "sd",
    accumulate: bool = True,
    targets: str | None = None,
    every: int | None = None,
) -> nn.Module:
    """Replace the MLP linears ``bases`` were made for by :class:`SparseGradLinear`, in place; returns ``model``.

    Freezes nothing: each new weight requires grad as the old one did. All layers are built before the first is put
    in, so that an error leaves the model as it was.

    Args:
        bases: from :func:`calibrate` on this model's present weights.
        kept: entries of each layer's gradient a step: a count such as 22_000 (int) or a share such as 0.01 (float).
        support: "dynamic": the top-k of every step.
        execution: "regular", "sd" or "planned": the same numbers, computed in another way (see ``executions``).
        accumulate: whether gradient accumulation is to select from the summed gradient; costs a dense buffer of each
            weight's size from backward to ``zero_grad``.
        targets, every: convert only these of the linears (as ``roles.find_targets``); default: all that the bases name.
    Raises:
        BasesMismatch: bases of another model or shape.
        SparseGradError: unknown options, ``kept`` beyond a layer, or a model that is converted already.
    """
    if any(isinstance(module, SparseGradLinear) for module in model.modules()):
        raise SparseGradError("the model is converted already: revert it first")
    chosen = find_named(model, bases)
    bases.check_model(type(model).__name__, chosen)
    if targets is not None or every is not None:
        wanted = [t.name for t in find_targets(model, targets=targets, every=1 if every is None else every)]
        if unknown := [name for name in wanted if name not in bases.layers]:
            raise BasesMismatch(f"no basis for {unknown[0]}: calibrate with the same targets= and every=")
        chosen = [target for target in chosen if target.name in wanted]
    rotations = bases.rotations(chosen)
    layers = {
        target.name: SparseGradLinear.from_linear(
            target.module,
            rotations[target.name],
            kept=kept,
            support=support,
            execution=execution,
            accumulate=accumulate,
            name=target.name,
        )
        for target in chosen
    }
    for name, layer in layers.items():
        set_module(model, name, layer)
    return model


def revert(model: nn.Module) -> nn.Module:
    """Put plain linears (GPT-2: Conv1D) with W = V^T W~ U in place of every SparseGrad layer; returns ``model``."""
    for name, module in list(model.named_modules()):
        if isinstance(module, SparseGradLinear):
            set_module(model, name, plain_linear(module))
    return model


def plain_linear(layer: SparseGradLinear) -> nn.Module:
    """The linear a SparseGrad layer stands for, with the flags of its parameters."""
    w_OI = layer.merged_weight()
    out, inner = w_OI.shape
    if layer.transposed:
        from transformers.pytorch_utils import Conv1D

        with torch.device("meta"):  # it would draw its weight from the global generator
            linear: nn.Module = Conv1D(out, inner)
        linear.weight = nn.Parameter(w_OI.T.contiguous(), requires_grad=layer.weight.requires_grad)
    else:
        linear = nn.Linear(inner, out, bias=layer.bias is not None, device="meta")
        linear.weight = nn.Parameter(w_OI, requires_grad=layer.weight.requires_grad)
    if layer.bias is not None:
        linear.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=layer.bias.requires_grad)
    return linear.train(layer.training)


def find_named(model: nn.Module, bases: Bases) -> list[Target]:
    """The model's linears that ``bases`` name; those it lacks (or that are none) ``Bases.check_model`` reports."""
    modules = dict(model.named_modules())
    return [
        Target(name=name, module=modules[name], role=role, block=0)
        for name, (role, _) in bases.layers.items()
        if name in modules and is_linear(modules[name])
    ]


def set_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Replace the submodule of that qualified name."""
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)
