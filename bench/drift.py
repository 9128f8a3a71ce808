"""Whether the machine held still: reasons not to trust a comparison, each with its bound.

Rounds are paired, so what the machine does to all contestants alike leaves the ratios alone, and what it does at random
widens their intervals. A row is called invalid only for what neither can mend. Every bound needs both: a size that
matters, and where it is read off noisy samples, a chance below 1 in 1,000 that a steady machine shows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
from scipy.stats import linregress

from bench.machine import MachineLog
from bench.stats import ratio_interval

__all__ = [
    "AA_BOUND",
    "CHANGE_BOUND",
    "CROWD_BOUND",
    "HOT_C",
    "add_drift_words",
    "crowding",
    "machine_reasons",
    "trend",
]

# A steady machine is called drifting less often than this, by each check that is a test.
_FALSE_ALARM = 0.001
# Two equal models differ by memory layout and by luck of a few per cent: beyond a tenth something else is at work.
AA_BOUND = 1.10
# Turbo and cache warm-up move a run by 5 to 10%; at a quarter "steps a second" are those of two machines.
CHANGE_BOUND = 1.25
# Of the cores that the threads need. One busy process beside a two-core run takes a third, idle daemons 1 to 3%.
CROWD_BOUND = 0.25
# Processor times tick at 10 ms, and a short burst of some daemon should not condemn a short run.
_CROWD_SECONDS = 5.0
# Where the makers' parts begin to slow themselves down (95 to 105 C by data sheet).
HOT_C = 95.0
# Below six rounds no order of samples has a chance below 1 in 1,000 by the tests used here.
_TREND_ROUNDS = 6

_BOUNDS = (
    f"the 99.9%% interval of the A/A pair wholly beyond a factor {AA_BOUND:.2f}; time a step that changes by a factor "
    f"{CHANGE_BOUND:.2f} over the rounds (p < 0.001, from {_TREND_ROUNDS} rounds); other processes or the host taking "
    f"{CROWD_BOUND:.0%}% of the cores needed (from {_CROWD_SECONDS:.0f} s of rounds); a clock that falls by a factor "
    f"{CHANGE_BOUND:.2f}; {HOT_C:.0f} C, or a GPU that slows itself down, in half of the rounds"
)


def add_drift_words(group: Any) -> None:
    """``--drift``, for every command that times rounds."""
    group.add_argument("--drift", choices=("invalid", "note"), default="invalid", help="rows measured on a drifting or "
                       "busy machine are invalid (exit 1), or merely noted. Drifting is: "
                       f"{_BOUNDS} (default: %(default)s)")  # fmt: skip


def trend(samples: Sequence[float]) -> float | None:
    """The factor by which a series changed over its rounds, where it did by more than ``CHANGE_BOUND``; else None.

    A ramp, and a step after each round but the first and last, are fitted to the logarithms by least squares; the
    likeliest counts, its p-value multiplied by their number (Bonferroni), below 1 in 1,000. Under six rounds None.
    """
    n = len(samples)
    if n < _TREND_ROUNDS:
        return None
    logs, rounds = np.log(np.asarray(samples, dtype=np.float64)), np.arange(n)
    shapes = [rounds / (n - 1), *((rounds >= first).astype(float) for first in range(2, n - 1))]
    fits = [linregress(shape, logs) for shape in shapes]  # each shape rises from 0 to 1: the slope is the change
    best = min(fits, key=lambda fit: float(fit.pvalue))
    sure = best.pvalue * len(fits) < _FALSE_ALARM
    return math.exp(best.slope) if sure and abs(best.slope) > math.log(CHANGE_BOUND) else None


def machine_reasons(first: Sequence[float], second: Sequence[float], log: MachineLog) -> list[str]:
    """Why a run is not to be trusted, a line each; empty where the machine held still, as far as can be read.

    Arguments:
        first, second: milliseconds a step of the A/A pair by round; empty where there is none.
        log: read before the first round and after each.
    """
    reasons: list[str | None] = []
    if first and len(first) == len(second):
        both = [math.sqrt(a * b) for a, b in zip(first, second, strict=True)]
        reasons += [_pair(first, second), _changed(both)]
    checks: tuple[Callable[[MachineLog], str | None], ...] = (_crowded, _clock, _heat, _gpu)
    reasons += [check(log) for check in checks]
    return [reason for reason in reasons if reason is not None]


def _pair(first: Sequence[float], second: Sequence[float]) -> str | None:
    interval = ratio_interval(first, second, confidence=1 - _FALSE_ALARM)
    if interval.low > AA_BOUND or interval.high < 1 / AA_BOUND:
        return f"the A/A pair differs by {interval.mean:.2f}x, two models that are the same (bound {AA_BOUND:.2f}x)"
    return None


def _changed(samples: Sequence[float]) -> str | None:
    factor = trend(samples)
    if factor is None:
        return None
    return f"the same steps took {factor:.2f}x the time at the end of the rounds (bound {CHANGE_BOUND:.2f}x)"


def crowding(log: MachineLog) -> float | None:
    """Share of the cores that the threads need which others had, over all rounds; None where too short to read.

    Others' busy cores count as far as there are not enough cores for both, what the host of a virtual machine gave
    away wholly: it is read only where it was wanted here.
    """
    if not log.readings:
        return None
    start, end = log.readings[0], log.readings[-1]
    wall = end.at_s - start.at_s
    if wall < _CROWD_SECONDS:
        return None
    threads = min(log.threads, log.cores)
    own = end.own_cpu_s - start.own_cpu_s
    others = max(0.0, end.busy_cpu_s - start.busy_cpu_s - own) / wall
    stolen = ((end.steal_cpu_s or 0.0) - (start.steal_cpu_s or 0.0)) / wall
    return (max(0.0, others + threads - log.cores) + stolen) / threads


def _crowded(log: MachineLog) -> str | None:
    if log.device.type == "cuda":  # the work is elsewhere; what the host does slow shows in the samples
        return None
    share = crowding(log)
    if share is None or share <= CROWD_BOUND:
        return None
    return f"other processes or the host took {share:.0%} of the cores needed (bound {CROWD_BOUND:.0%})"


def _clock(log: MachineLog) -> str | None:
    """Medians of the first and last third of the rounds: what a core does in one moment is no trend."""
    clocks = [reading.clock_mhz for reading in log.readings[1:] if reading.clock_mhz]
    third = len(clocks) // 3
    if third and (before := median(clocks[:third])) > CHANGE_BOUND * (after := median(clocks[-third:])):
        return f"the clock fell from {before:,.0f} to {after:,.0f} MHz (bound {1 / CHANGE_BOUND:.0%})"
    return None


def _heat(log: MachineLog) -> str | None:
    """In half of the rounds or more; turbo touches the bound for moments."""
    heats = [reading.temperature_c for reading in log.readings[1:] if reading.temperature_c]
    if heats and (middle := median(heats)) >= HOT_C:
        return f"the processor stood at {middle:.0f} C (bound {HOT_C:.0f} C)"
    return None


def _gpu(log: MachineLog) -> str | None:
    """The GPU's clock itself is recorded and not judged: it is read when the GPU is idle again."""
    slowed, rounds = sum(bool(reading.gpu_throttled) for reading in log.readings[1:]), len(log.readings) - 1
    return f"the GPU slowed itself down in {slowed} of {rounds} rounds" if slowed and 2 * slowed >= rounds else None
