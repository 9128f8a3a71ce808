"""The peak memory of a model that does not fit here: the same train step on tensors without data.

The method is put into the model's outline (the meta device), the outline becomes torch's fake tensors, which have
shape, dtype and storage size but no memory, and two train steps run on them under the tracked instrument. What depends
on data takes its dearest course: every token is active, attention is masked (a decoder whose every row is full does
without its mask), and a sparse step is written back through as many rows as it could need. So a prediction is an upper
bound where padding is dropped, where there is none, and within the optimizer's step.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

from bench.batches import Batch
from bench.footprint import footprint
from bench.request import DTYPES, Request
from bench.workload import Workload
from sparsegrad import Bases, Basis, SparseGradOptimizer
from sparsegrad.bases import fingerprint, layers_of
from sparsegrad.core import default_core
from sparsegrad.methods import METHODS, Method, Prepared, Settings
from sparsegrad.roles import Target, find_targets, shape_of
from sparsegrad.support import resolve_kept

__all__ = ["LEFT_OUT", "NotPredictable", "predict_peak", "predictable", "predicted"]

# As measured: the first step makes the optimizer's state, the second peaks with it.
_STEPS = 2
# What is said of a method that was not asked for by name.
LEFT_OUT = "not predictable, it is set up with values; measure it"


class NotPredictable(RuntimeError):
    """The method cannot be set up, or the model not run, without data."""


def predict_peak(request: Request, method: Method, workload: Workload, batch: Batch | None = None) -> dict[str, Any]:
    """Memory of the method's train step on ``batch`` (``footprint``), and what the method trains.

    Args:
        batch: of which shapes alone are read; default: the workload's widest.
    Raises:
        NotPredictable: a method which needs values to be set up, or a model which needs them to be run.
    """
    settings = request.settings(workload)
    prepared = _outlined(request, method, workload)
    given = batch or max(workload.batches, key=lambda made: made["input_ids"].numel())
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        model = _emptied(prepared.model)
        training = [p for p in model.parameters() if p.requires_grad]
        optimizer = SparseGradOptimizer(training, lr=settings.lr) if training else None
        prepared = replace(prepared, model=model, optimizer=optimizer)
        try:
            told = footprint(prepared, {name: mode.from_tensor(tensor) for name, tensor in given.items()}, _STEPS)
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise NotPredictable(f"the model's step asks for values ({error}): measure it") from error
    return {**told, "instrument": "predicted", "attribution_instrument": "predicted"}


def _emptied(model: nn.Module) -> nn.Module:
    """``model.to_empty`` whose tied parameters stay one: torch would give each of their uses its own."""
    uses: dict[nn.Parameter, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            uses.setdefault(parameter, []).append((module, name))
    model = model.to_empty(device="cpu")
    for (first, known_as), *others in uses.values():
        for module, name in others:
            setattr(module, name, getattr(first, known_as))
    return model


def _outlined(request: Request, method: Method, workload: Workload) -> Prepared:
    """The method in the model's outline; NotPredictable where it asks for values."""
    settings = request.settings(workload)
    outline = workload.outline().to(DTYPES[request.dtype])
    try:
        return method.prepare(outline, settings, bases_outline(method, outline, settings))
    except NotImplementedError as error:  # torch's word for an operator that the meta device cannot have
        raise NotPredictable(f"{method.name} cannot be set up without values: measure it") from error


def predictable(request: Request, workload: Workload) -> Request:
    """The request without the methods that cannot be predicted, where it asks for all; what was named stays."""
    if set(request.methods) != set(METHODS):
        return request
    kept = []
    for method in request.chosen():
        with suppress(NotPredictable):
            _outlined(request, method, workload)
            kept.append(method.name)
    return replace(request, methods=tuple(kept))


def predicted(request: Request, method: str) -> dict[str, Any]:
    """``predict_peak`` of the method of that name: what a fresh process runs."""
    return predict_peak(request, METHODS[method], request.workload())


def bases_outline(method: Method, model: nn.Module, settings: Settings) -> Bases | None:
    """Bases of the shapes that calibration would give, without data; None where the method needs none."""
    options = method.calibration(settings)
    if options is None:
        return None
    found = find_targets(model, targets=settings.targets, every=settings.every)
    cores = {target.name: _core(target, settings) if method.fixed else shape_of(target.module) for target in found}
    table = {}
    for target in found:
        (out, inner), (rows, cols) = shape_of(target.module), cores[target.name]
        key = target.role if options["basis"] == "shared" else target.name
        table[key] = Basis(u=_outline(cols, inner), v=_outline(rows, out), singular_in=None, singular_out=None)
    return Bases(
        kind=options["basis"],
        table=table,
        layers=layers_of(found),
        fingerprint=fingerprint(found),
        energies={name: _outline(*core) for name, core in cores.items()} if method.fixed else {},
    )


def _core(target: Target, settings: Settings) -> tuple[int, int]:
    out, inner = shape_of(target.module)
    return settings.core or default_core(resolve_kept(settings.kept, out * inner, layer=target.name), out, inner)


def _outline(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")
