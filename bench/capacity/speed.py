"""Steps a second at the largest size: timed turns in a fresh process, their mean with its interval, or why not.

One method stands alone at its size, so there is no ratio and no A/A pair: whether the machine held still is read off
the machine itself, and off the turns' own trend.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.capacity.probe import filled, set_up
from bench.drift import machine_reasons, trend
from bench.fresh import Outcome
from bench.machine import MachineLog
from bench.record import Status
from bench.request import Request
from bench.stats import ratio_interval
from bench.timing import Contestant
from bench.train import to_device

__all__ = ["STEPS", "TURNS", "reasons", "settled", "timed", "untimed"]

# The fewest that a trend is told from (bench.drift); of one step each, since steps of the largest size are long.
TURNS = 6
_WARMUP = 1
STEPS = _WARMUP + TURNS
_SECOND_MS = 1e3
_NOTHING: dict[str, Any] = {
    "steps_per_s": None,
    "steps_per_s_interval": None,
    "samples_ms": [],
    "samples_by_phase_ms": [],
    "machine": None,
    "not_timed": None,
}


def timed(request: Request, method: str, bases: Path | None, batch_size: int, length: int) -> dict[str, Any]:
    """Milliseconds of each turn, the machine's readings, and reasons not to trust them; runs in a fresh process."""
    workload, batch = filled(request, batch_size, length)
    device = request.place()
    contestant = Contestant(name=method, device=device, seed=request.seed)
    contestant.prepared = set_up(request, method, workload, bases)
    batch, machine = to_device(batch, device), MachineLog(device=device)
    contestant.turn([batch], _WARMUP, timed=False)
    machine()
    for _ in range(TURNS):
        contestant.turn([batch], 1, timed=True)
        machine()
    samples = contestant.samples_ms
    told = {"samples_ms": samples, "samples_by_phase_ms": contestant.rounds_ms}
    return {**told, "reasons": reasons(samples, machine), "machine": machine.as_json()}


def reasons(samples_ms: list[float], machine: MachineLog) -> list[str]:
    """Why the turns are not to be trusted, a line each; empty where the machine held still, as far as can be read."""
    factor = trend(samples_ms)
    own = [] if factor is None else [f"its time changed by {factor:.2f}x over the turns"]
    return machine_reasons([], [], machine) + own


def untimed(why: str) -> Outcome:
    """No step was taken, and that is no failure."""
    return Outcome(status=Status.OK, value={**_NOTHING, "not_timed": why})


def settled(outcome: Outcome, method: str, drift: str) -> Outcome:
    """What came of ``timed``, JSON types: the geometric mean of steps a second with its 95% t interval on logs; samples
    alone where the machine did not hold still and ``drift`` is "invalid". A run that failed keeps its status.
    """
    if outcome.status is not Status.OK:
        value = {**_NOTHING, "not_timed": f"{outcome.status}: {outcome.reason}"}
        return Outcome(status=outcome.status, value=value, reason=f"its steps were not timed: {outcome.reason}")
    read = dict(outcome.value)
    why = read.pop("reasons")
    distrust = {method: "; ".join(why)} if why else {}
    read["machine"] = {"drift": drift, "reasons": why, "distrust": distrust, **read["machine"]}
    if why and drift == "invalid":
        return Outcome(status=Status.INVALID, value=_NOTHING | read, reason=f"its steps: {distrust[method]}")
    samples = read["samples_ms"]
    speed = ratio_interval([_SECOND_MS] * len(samples), samples)
    figures = {"steps_per_s": speed.mean, "steps_per_s_interval": speed.as_json()}
    return Outcome(status=Status.OK, value=_NOTHING | read | figures)
