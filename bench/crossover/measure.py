"""One cell: every way takes its turn in interleaved rounds, the dense layer twice; then who wins, and what sd gains.

With t_reg and t_sd the time a step of regular and of sd, and t_all that of sd given no zero row, exactly:

    t_reg / t_sd  =  (t_all / t_sd)  x  (t_reg / t_all)
                       padding            the rest: what looking for zeros gains where there are none

and beside it stands sparsity: sd that keeps every entry over sd that keeps k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, log
from statistics import fmean
from typing import Any

import torch

from bench.crossover.grid import Cell
from bench.crossover.ways import ALL_ENTRIES, ALL_ROWS, DENSE, WAYS, energy_share, problem, ways
from bench.drift import machine_reasons, trend
from bench.machine import MachineLog
from bench.record import Status
from bench.stats import RatioInterval, detectable_ratio, noise_floor, ratio_interval, verdict
from bench.timing import Contestant, interleave
from bench.train import LossNotFinite

__all__ = ["SECOND_DENSE", "cell_result", "measure_cell"]

SECOND_DENSE = "dense (A/A)"


def measure_cell(cell: Cell, drift: str) -> dict[str, Any]:
    """The cell's result, JSON types; ``drift``: "invalid" or "note". Runs in a fresh process.

    One layer's step is a tenth quicker after its own than after another's (2.4 MB of weights, in each of 18 cells). The
    dense pair stand at the ring's ends and follow themselves every other round: without a step that leads in they gain
    by it, and do not differ.
    """
    made = problem(cell)
    makers = dict(ways(made))
    contestants = []
    for name, make in {**makers, SECOND_DENSE: makers[DENSE]}.items():
        contestant = Contestant(name=name, device=torch.device(cell.device), lead_in=True, seed=cell.seed)
        try:
            contestant.prepared = make()
        except Exception as error:  # whatever befalls one way is a row; the others go on
            contestant.fail_with(error)
        contestants.append(contestant)
    machine = MachineLog(device=torch.device(cell.device))
    interleave(
        contestants,
        [made.batch()],
        rounds=cell.rounds,
        steps_per_turn=cell.steps,
        warmup_steps=cell.warmup,
        between=machine,
    )
    for contestant in contestants:
        if contestant.failure is None and not _weights_finite(contestant):
            contestant.fail_with(LossNotFinite("a weight is not finite after the steps"))
    return {**cell_result(contestants, machine, drift), "energy_share": energy_share(made)}


def _weights_finite(contestant: Contestant) -> bool:
    return all(bool(torch.isfinite(p).all()) for p in contestant.prepared.model.parameters())


def cell_result(contestants: Sequence[Contestant], machine: MachineLog, drift: str) -> dict[str, Any]:
    """Rows by way, the A/A pair, the winner, sd's benefit and the machine's readings."""
    by_name = {contestant.name: contestant for contestant in contestants}
    samples = {name: each.samples_ms for name, each in by_name.items() if each.failure is None and each.samples_ms}
    first, second = (samples.get(name, []) for name in (DENSE, SECOND_DENSE))
    paired = bool(first and second)
    reasons = machine_reasons(first, second, machine) if paired else machine_reasons([], [], machine)
    distrust = _distrust(samples, reasons)
    invalid = distrust if drift == "invalid" else {}
    samples = {name: ms for name, ms in samples.items() if name not in invalid}
    competing = {name: ms for name, ms in samples.items() if name in WAYS}
    aa = ratio_interval(first, second) if paired else None
    return {
        "ways": [_row(each, samples, aa, invalid) for each in contestants],
        "aa": None if aa is None else {**aa.as_json(), "detectable_ratio": _finite(detectable_ratio(first, second))},
        # Beside a way that was not told, and may be the fastest, none of the others wins.
        "winner": _winner({} if invalid.keys() & set(WAYS) else competing, aa),
        "sd_benefit": _benefit(samples),
        "machine": {"drift": drift, "reasons": reasons, "distrust": distrust, **machine.as_json()},
    }


def _distrust(samples: Mapping[str, Sequence[float]], reasons: Sequence[str]) -> dict[str, str]:
    """Way -> why its samples are not to be trusted."""
    told = {}
    for name, ms in samples.items():
        own = list(reasons)
        if name not in (DENSE, SECOND_DENSE) and DENSE in samples:
            factor = trend([a / b for a, b in zip(ms, samples[DENSE], strict=True)])
            if factor is not None:
                own.append(f"its time against {DENSE} changed by {factor:.2f}x over the rounds")
        if own:
            told[name] = "; ".join(own)
    return told


def _row(
    contestant: Contestant,
    samples: Mapping[str, Sequence[float]],
    aa: RatioInterval | None,
    distrust: Mapping[str, str],
) -> dict[str, Any]:
    name, failure = contestant.name, contestant.failure
    status, reason = (Status.OK, None) if failure is None else (failure.status, failure.reason)
    if name in distrust:
        status, reason = Status.INVALID, distrust[name]
    trusted = samples.get(name)
    ratio = ratio_interval(samples[DENSE], trusted) if trusted is not None and DENSE in samples else None
    told = None if ratio is None else "~" if aa is None else verdict(ratio, noise_floor(aa))
    return {
        "way": name,
        "status": str(status),
        "reason": reason,
        "step_ms": None if trusted is None else fmean(trusted),
        "ratio_to_dense": None if ratio is None else ratio.as_json(),
        "verdict": told,
        "samples_ms": contestant.samples_ms,
        "samples_by_phase_ms": contestant.rounds_ms,
    }


def _winner(samples: Mapping[str, Sequence[float]], aa: RatioInterval | None) -> dict[str, Any] | None:
    """The fastest by geometric mean, and whether it is told from the next one, beyond the A/A noise."""
    if not samples:
        return None
    order = sorted(samples, key=lambda name: fmean(map(log, samples[name])))
    first = order[0]
    if len(order) == 1:
        return {"way": first, "over": None, "ratio": None, "clear": False}
    ratio = ratio_interval(samples[order[1]], samples[first])
    clear = aa is not None and verdict(ratio, noise_floor(aa)) == "faster"
    return {"way": first, "over": order[1], "ratio": ratio.as_json(), "clear": clear}


def _benefit(samples: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Factors of time, above 1 a gain: total = padding x rest, and sparsity beside it; None where not measured."""
    sd, whole = samples.get("sd"), samples.get(ALL_ROWS)
    pairs = {
        "total": (samples.get("regular"), sd),
        "padding": (whole, sd),
        "rest": (samples.get("regular"), whole),
        "sparsity": (samples.get(ALL_ENTRIES), sd),
    }
    return {
        name: None if over is None or ms is None else ratio_interval(over, ms).as_json()
        for name, (over, ms) in pairs.items()
    }


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
