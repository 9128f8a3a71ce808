"""What befalls a worker, for real: the system kills it, memory runs out, numbers are none any more. Cells run these in
place of what they measure, in processes of their own, which import them from here."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch

import bench.crossover.measure
from bench.capacity.probe import measured_bytes
from bench.capacity.speed import timed
from bench.cells import measure_peak
from bench.crossover.grid import Cell
from bench.crossover.measure import measure_cell
from bench.crossover.ways import Problem, ways
from bench.request import Request
from bench.sparsity.energy import measure_energy
from sparsegrad.methods import Prepared

MIB = 2**20


def killed(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def peak_of_lora_is_killed(request: Request, method: str, bases: Path | None) -> dict[str, Any]:
    if method == "lora":
        killed()
    return measure_peak(request, method, bases)


def energy_of_50_is_killed(request: Request, method: str, bases: Path | None) -> dict[str, Any]:
    if request.kept == 50:
        killed()
    return measure_energy(request, method, bases)


def cell_of_5_is_killed(cell: Cell, drift: str) -> dict[str, Any]:
    if (cell.active, cell.kept) == (0.25, 5):
        killed()
    return measure_cell(cell, drift)


def steps_of_lora_are_killed(
    request: Request, method: str, bases: Path | None, batch_size: int, length: int
) -> dict[str, Any]:
    if method == "lora":
        killed()
    return timed(request, method, bases, batch_size, length)


def _little_memory(more: int) -> None:
    """From here on this process may map ``more`` bytes and no byte beyond; its allocator is then refused, as on a
    machine that is full."""
    mapped = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + more, resource.getrlimit(resource.RLIMIT_AS)[1]))


def measured_in_little_memory(
    request: Request, method: str, bases: Path | None, batch_size: int, length: int
) -> dict[str, Any]:
    """64 MiB for a step and its model, beside one example's, which loads what is loaded once."""
    torch.set_num_threads(1)
    measured_bytes(request, method, bases, 1, length)
    _little_memory(64 * MIB)
    return measured_bytes(request, method, bases, batch_size, length)


def lora_is_timed_in_little_memory(
    request: Request, method: str, bases: Path | None, batch_size: int, length: int
) -> dict[str, Any]:
    if method == "lora":
        torch.set_num_threads(1)
        measured_bytes(request, method, bases, 1, length)
        _little_memory(16 * MIB)
    return timed(request, method, bases, batch_size, length)


def two_ways_go_astray(cell: Cell, drift: str) -> dict[str, Any]:
    """sd has a weight that is no number after its first step, planned after its very last."""
    last = 1 + cell.warmup + cell.rounds * (1 + cell.steps)  # each turn begins with a step that is not counted
    vars(bench.crossover.measure)["ways"] = lambda made: _astray(made, {"sd": 1, "planned": last})
    return measure_cell(cell, drift)


def _astray(made: Problem, after: Mapping[str, int]) -> Iterator[tuple[str, Callable[[], Prepared]]]:
    for name, make in ways(made):
        yield name, partial(_lost, make, after[name]) if name in after else make


def _lost(make: Callable[[], Prepared], step: int) -> Prepared:
    prepared, taken = make(), count(1)
    assert prepared.optimizer is not None

    def stepped(*_: Any) -> None:
        if next(taken) == step:
            next(prepared.model.parameters()).data[0, 0] = float("nan")

    prepared.optimizer.register_step_post_hook(stepped)
    return prepared
