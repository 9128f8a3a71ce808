"""The pieces of a run, each measured in a process of its own: bases, fixed supports, readings through training."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.calibration import timed_calibration
from bench.gradients.decay import decay
from bench.gradients.protocol import Protocol, Sizes, cores_of, sizes_of
from bench.gradients.readings import Gradients, Reader, Rotations, Supports
from bench.gradients.spaces import CALIBRATIONS, SPACES, rotations
from bench.gradients.stripes import Watch, mask_of
from bench.gradients.summary import summary
from bench.gradients.supports import in_core, largest
from bench.request import Request
from bench.train import finite, to_device, train_step
from bench.workload import Workload
from sparsegrad import Bases
from sparsegrad.bases import read_safetensors, write_safetensors
from sparsegrad.methods import METHODS, Prepared
from sparsegrad.roles import Target, find_targets

__all__ = ["measure_bases", "measure_supports", "measure_training"]

# Full fine-tuning trains; what SparseGrad would keep of its gradients is only looked at.
_METHOD = METHODS["full"]


def measure_bases(request: Request, protocol: Protocol, name: str, path: Path) -> dict[str, Any]:
    """Calibrate as ``CALIBRATIONS[name]`` says, write the bases to ``path``, and tell their spectra."""
    workload = request.workload(protocol.steps)
    model, settings = request.fresh_model(workload), request.settings(workload)
    bases, spent = timed_calibration(
        model,
        workload.calibration_batches,
        request.calibration_steps,
        request.place(),
        targets=settings.targets,
        every=settings.every,
        model_name=workload.description["model"],
        data_name=workload.name,
        **CALIBRATIONS[name],
    )
    bases.save(path)
    told = {"calibration": name, "steps": request.calibration_steps, **CALIBRATIONS[name]}
    return {**told, **spent, "decay": decay(bases)}


def measure_supports(request: Request, protocol: Protocol, bases: Mapping[str, Path], path: Path) -> dict[str, Any]:
    """Choose every fixed support by calibration energy: of the whole matrix, and of its core. Written to ``path``.

    The calibration batches go by once more, at the weights as they are and without dropout, as in ``calibrate``; each
    gradient, normalised where its space's bases are of such, adds its squared entries in each space to one sum, which
    is all that is held.
    """
    workload, prepared, targets, sizes, spaces = _ready(request, protocol, bases)
    prepared = replace(prepared, optimizer=None, model=prepared.model.eval())
    sums: dict[tuple[str, str], Tensor] = {}

    def fold(target: Target, g_OI: Tensor) -> None:
        wide = g_OI.to(torch.promote_types(g_OI.dtype, torch.float32))
        for space, of in spaces.items():
            squares = of[target.name].rotate(wide).square()
            if SPACES[space].normalised and bool(squares.any()):
                squares /= squares.sum(dtype=torch.float64)
            key = (space, target.name)
            sums[key] = squares if key not in sums else sums[key].add_(squares)

    for batch in workload.calibration_batches:
        finite(train_step(prepared, to_device(batch, request.place()), Gradients(targets, fold)))
    chosen, held = {}, []
    for (space, name), energy in sums.items():
        size = sizes[name]
        chosen[f"whole/{space}/{name}"] = whole = largest(energy, size.kept)
        chosen[f"core/{space}/{name}"] = in_core(energy, size.core, size.kept)
        total = float(energy.sum(dtype=torch.float64))
        share = float(energy.reshape(-1)[whole].sum(dtype=torch.float64)) / total if total > 0 else None
        held.append({"space": space, "linear": name, "calibration_energy_share": share})
    write_safetensors(path, chosen, {})
    return {"steps": len(workload.calibration_batches), "rows": held}


def measure_training(request: Request, protocol: Protocol, bases: Mapping[str, Path], supports: Path) -> dict[str, Any]:
    """Full fine-tuning with a reading at every ``protocol.readings`` step: rows a linear and space, and their means."""
    workload, prepared, targets, sizes, spaces = _ready(request, protocol, bases)
    fixed, fixed_in_core = _read_supports(supports, request.place())
    reader = Reader(sizes=sizes, spaces=spaces, fixed=fixed, fixed_in_core=fixed_in_core)
    losses = []
    # Drawn at the last reading; the last block of an encoder alone has nothing but [CLS] in its stripes.
    blocks = ({protocol.block}, {protocol.block, targets[0].block})
    for step, batch in enumerate(workload.batches, start=1):
        batch, probes = to_device(batch, request.place()), []
        with ExitStack() as watching:
            if step in protocol.readings:
                maps, striped = blocks if step == protocol.readings[-1] else (set(), set())
                probes.append(Gradients(targets, _reading(reader, step, maps)))
                watching.enter_context(Watch(targets, _striping(reader, step, batch, striped)))
            elif step + 1 in protocol.readings:
                probes.append(Gradients(targets, reader.remember))
            losses.append(finite(train_step(prepared, batch, *probes)))
    order = {target.name: place for place, target in enumerate(targets)}  # a backward comes by the last one first
    dy_rows = sorted(reader.dy_rows, key=lambda row: (row["step"], order[row["linear"]]))
    return {
        "readings": protocol.readings,
        "losses": losses,
        "spaces": {name: space.summary for name, space in SPACES.items()},
        "linears": [_linear(target, sizes[target.name]) for target in targets],
        "summary": summary(reader.rows, dy_rows),
        "rows": reader.rows,
        "dy_rows": dy_rows,
        "pictures": list(reader.pictures.values()),
        "stripe_pictures": [reader.stripe_pictures[name] for name in order if name in reader.stripe_pictures],
    }


def _ready(
    request: Request, protocol: Protocol, bases: Mapping[str, Path]
) -> tuple[Workload, Prepared, list[Target], dict[str, Sizes], Rotations]:
    """The workload, the model under full fine-tuning, its linears, what is kept of each, and every space."""
    workload = request.workload(protocol.steps)
    prepared = request.prepare(_METHOD, request.fresh_model(workload), workload, None)
    targets = find_targets(prepared.model, targets=workload.targets, every=workload.every)
    loaded = {name: Bases.load(path) for name, path in bases.items()}
    spaces = {name: rotations(space, loaded, targets) for name, space in SPACES.items()}
    return workload, prepared, targets, {target.name: sizes_of(request, target) for target in targets}, spaces


def _read_supports(path: Path, device: torch.device) -> tuple[Supports, Supports]:
    tensors, _ = read_safetensors(path)
    found: dict[str, dict[str, dict[str, Tensor]]] = {"whole": {}, "core": {}}
    for key, places in tensors.items():
        where, space, linear = key.split("/", 2)
        found[where].setdefault(space, {})[linear] = places.to(device)
    return found["whole"], found["core"]


def _reading(reader: Reader, step: int, blocks: set[int]) -> Any:
    return lambda target, g_OI: reader.read(step, target, g_OI, drawn=target.block in blocks)


def _striping(reader: Reader, step: int, batch: Mapping[str, Tensor], blocks: set[int]) -> Any:
    mask_T = mask_of(batch)
    return lambda target, g_TO: reader.read_stripes(step, target, g_TO, mask_T, drawn=target.block in blocks)


def _linear(target: Target, sizes: Sizes) -> dict[str, Any]:
    told = {"name": target.name, "role": target.role, "block": target.block, **asdict(sizes)}
    return {**told, "cores": cores_of(sizes.out, sizes.inner)}
