"""One calibration, timed as it is made: its seconds, those of each batch, and whether the machine held still meanwhile;
and whether the bases of an earlier one are still there.

It takes as long as hundreds of steps and is made once, so that its seconds have no interval: who shows them says that
they are of one making. The machine is watched all the same, by itself and by the trend of the batches.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.drift import machine_reasons, trend
from bench.machine import MachineLog
from sparsegrad import Bases, BasesMismatch, calibrate
from sparsegrad.bases import read_safetensors

__all__ = ["doubt", "intact", "reasons", "timed_calibration"]


def timed_calibration(
    model: nn.Module, batches: Iterable[Mapping[str, Any]], steps: int, device: torch.device, **options: Any
) -> tuple[Bases, dict[str, Any]]:
    """``sparsegrad.calibrate`` with these options, and what is told of its time, JSON types.

    ``calibration_s``: all of it. ``batches_s``: each batch, of a fixed support those of its second pass too;
    ``finish_s``: what came after the last one. ``machine``: readings before and after, and ``reasons`` not to trust it.
    """
    machine = MachineLog(device=device)
    machine()
    marks = [time.perf_counter()]
    bases = calibrate(model, batches, steps, progress=lambda *_: marks.append(time.perf_counter()), **options)
    ended = time.perf_counter()
    machine()
    batches_s = [after - before for before, after in pairwise(marks)]
    told = {"calibration_s": ended - marks[0], "batches_s": batches_s, "finish_s": ended - marks[-1]}
    return bases, {**told, "machine": {"reasons": reasons(batches_s, steps, machine), **machine.as_json()}}


def intact(path: Path) -> bool:
    """Whether a file of ours lies there with what was written to it: what is not is to be made again."""
    try:
        read_safetensors(path)
    except BasesMismatch:
        return False
    return True


def reasons(batches_s: Sequence[float], steps: int, machine: MachineLog) -> list[str]:
    """Why the seconds are not to be trusted, a line each; ``steps``: batches a pass."""
    why = machine_reasons([], [], machine)
    for begun in range(0, len(batches_s), steps):
        # The first batch of a pass also pays for what is made once, or for the decomposition before it.
        factor = trend(batches_s[begun + 1 : begun + steps])
        if factor is not None:
            why.append(f"the time of a batch changed by {factor:.2f}x over the calibration")
    return why


def doubt(result: Mapping[str, Any]) -> str | None:
    """The reasons in a record's result, one line; None where there are none, or nothing was watched (older records)."""
    return "; ".join((result.get("machine") or {}).get("reasons", ())) or None
