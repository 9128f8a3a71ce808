"""What the preliminary phase costs: streamed into Gram matrices (ours) beside the stacked tensor and its HOSVD.

The method as written stacks one matrix a step and block, for each role. Where that fits into this machine's free
memory it is made and measured; where not, and for LLaMA-2-7B, its bytes are computed from the shapes and say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from bench.calibration import doubt, timed_calibration
from bench.fresh import Outcome
from bench.machine import free_bytes
from bench.models import resolve_model
from bench.peak import TrackedPeak
from bench.presets import PRESETS
from bench.record import Status
from bench.request import Request
from sparsegrad import calibrate
from sparsegrad.roles import find_targets, shape_of

__all__ = ["COMPUTED", "MODES", "fits", "llama_stack", "measure_preliminary", "settled", "stack_bytes"]

MODES = ("streamed", "stacked")
COMPUTED = "computed, not measured"
_LLAMA = "llama-2-7b"
_PAPER_STEPS = 30
_SINGLE, _DOUBLE = 4, 8
# A role's stack, its unfolding and the right singular vectors stand beside the list of all gradients.
_COPIES = 3


def stack_bytes(
    model: nn.Module, steps: int, *, targets: str | None, every: int, entry: int = _SINGLE
) -> dict[str, int]:
    """Role -> bytes of its stacked tensor (out, in, steps * blocks), ``entry`` bytes each."""
    stacks: dict[str, int] = {}
    for target in find_targets(model, targets=targets, every=every):
        out, inner = shape_of(target.module)
        stacks[target.role] = stacks.get(target.role, 0) + steps * out * inner * entry
    return stacks


def llama_stack() -> dict[str, Any]:
    """The paper's LLaMA-2-7B: up and down projections of every third block, 30 steps, fp32; from the shapes alone."""
    preset = PRESETS[_LLAMA]
    outline = resolve_model(_LLAMA, random_weights=True, labels=2, dropout=0.0, seed=0).outline()
    stacks = stack_bytes(outline, _PAPER_STEPS, targets=preset.targets, every=preset.every)
    return {"model": _LLAMA, "steps": _PAPER_STEPS, "dtype": "fp32", "how": COMPUTED, "stack_bytes_by_role": stacks}


def fits(model: nn.Module, steps: int, *, targets: str | None, every: int) -> tuple[int, int]:
    """(bytes that the stacked reference needs at least, in double precision; bytes that are free here)."""
    stacks = stack_bytes(model, steps, targets=targets, every=every, entry=_DOUBLE)
    return sum(stacks.values()) + _COPIES * max(stacks.values()), free_bytes()


def measure_preliminary(request: Request, mode: str) -> dict[str, Any]:
    """One calibration, shared bases, by ``mode`` (one of ``MODES``): ``timed_calibration``, then run again under the
    instrument.

    Streamed, two batches make the same peak as all: the second finds the Gram matrices of the first made. Bytes are
    of tensors; what a decomposition's routine uses inside is not seen.
    """
    workload = request.workload()
    settings = request.settings(workload)
    model = request.fresh_model(workload)
    steps, targets = request.calibration_steps, settings.targets
    options: dict[str, Any] = {"targets": targets, "every": settings.every, "mode": mode}
    told: dict[str, Any] = {
        "mode": mode,
        "steps": steps,
        "stack_bytes_by_role": stack_bytes(model, steps, targets=targets, every=settings.every),
        "model_bytes": sum(p.nbytes for p in model.parameters()),
    }
    if mode == "stacked":
        needed, free = fits(model, steps, targets=targets, every=settings.every)
        if needed > free:
            return {**told, "how": COMPUTED, "needed_bytes": needed, "free_bytes": free, **_NOT_MEASURED}
    _, spent = timed_calibration(model, workload.calibration_batches, steps, request.place(), **options)
    instrument = TrackedPeak()
    with instrument:
        instrument.watch([*model.parameters(), *model.buffers()])
        instrument.mark("start")
        calibrate(model, workload.calibration_batches, steps if mode == "stacked" else min(2, steps), **options)
        instrument.mark("calibration")
    reading = instrument.read()
    return {**told, "how": "measured", **spent, "peak_bytes": reading.peak_bytes, "instrument": reading.instrument}


_NOT_MEASURED: Mapping[str, None] = dict.fromkeys(
    ("calibration_s", "batches_s", "finish_s", "machine", "peak_bytes", "instrument")
)


def settled(outcome: Outcome, drift: str) -> Outcome:
    """What came of ``measure_preliminary``; of a machine that did not hold still the raw times of the batches alone,
    where ``drift`` is "invalid": bytes stand."""
    why = doubt(outcome.value or {})
    if why is None or drift == "note":
        return outcome
    return replace(outcome, status=Status.INVALID, reason=why, value={**outcome.value, "calibration_s": None})
