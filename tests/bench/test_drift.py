"""A machine that does not hold still is told by planted drifts, and a steady one is left alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from bench.drift import crowding, machine_reasons, trend
from bench.machine import MachineLog, Reading, parse_gpu, read_machine

CPU = torch.device("cpu")


def reading(at_s: float, **told: Any) -> Reading:
    blank: dict[str, Any] = {name: None for name in ("steal_cpu_s", "load_1min", "clock_mhz", "temperature_c")}
    return Reading(**{**blank, "at_s": at_s, "own_cpu_s": 0.0, "busy_cpu_s": 0.0, **told})


def watched(*readings: Reading, threads: int = 2, cores: int = 2, device: torch.device = CPU) -> MachineLog:
    return MachineLog(device=device, threads=threads, cores=cores, readings=list(readings))


def rounds(count: int, **series: Any) -> list[Reading]:
    """A reading before the first round and one after each, every ten seconds; series by round, the first before it."""
    return [reading(10.0 * at, **{name: values[at] for name, values in series.items()}) for at in range(count + 1)]


@pytest.mark.parametrize("count", [3, 6, 10, 30])
@pytest.mark.parametrize("spread", [0.02, 0.1])
def test_a_steady_machine_is_called_drifting_less_than_once_in_500(count: int, spread: float) -> None:
    """Two checks of samples, each below 1 in 1,000, on noise of 2% (idle) and of 10% (a bad virtual machine)."""
    random, alarms, trials = np.random.default_rng(count), 0, 2000 if count < 30 else 500
    common_TN = random.normal(0, 0.03, (trials, count))  # what befalls both of a pair says nothing of their ratio
    pairs = [np.exp(common_TN + random.normal(0, spread, (trials, count))).tolist() for _ in range(2)]
    for first, second in zip(*pairs, strict=True):
        alarms += bool(machine_reasons(first, second, watched()))
    assert alarms <= 0.002 * trials


def test_noise_as_large_as_a_drift_is_none() -> None:
    """Of eight shapes one fits by chance eight times as often as one alone: 1 in 1,000 holds of them all together."""
    random, trials = np.random.default_rng(2), 1500
    alarms = sum(trend(np.exp(random.normal(0, 0.4, 10)).tolist()) is not None for _ in range(trials))
    assert alarms <= 5  # 1.5 expected; 10 where each shape is given its own 1 in 1,000


@pytest.mark.parametrize("factor", [1.4, 0.6])
@pytest.mark.parametrize("shape", ["ramp", "step", "late step"])
def test_a_planted_drift_is_found(shape: str, factor: float) -> None:
    """Ten rounds of 2% noise on a machine that becomes slower (or faster: it was throttled before) by 1.4."""
    at = np.arange(10)
    rise = {"ramp": at / 9, "step": at >= 5.0, "late step": at >= 8.0}[shape].astype(float)
    random, found = np.random.default_rng(5), 0
    for _ in range(200):
        logs = math.log(factor) * rise + random.normal(0, 0.02, 10)
        samples = (100 * np.exp(logs)).tolist()
        told = trend(samples)
        found += told is not None and abs(math.log(told / factor)) < 0.1
    assert found >= 198


def test_a_drift_that_does_not_matter_or_cannot_be_told() -> None:
    ramp = np.arange(10) / 9
    assert trend((100 * 1.2**ramp).tolist()) is None, "a fifth is warm-up"
    assert trend((100 * 1.3**ramp).tolist()) == pytest.approx(1.3)
    assert trend([100.0] * 10) is None
    assert trend([100.0] * 9 + [300.0]) is None, "one round of ten is an outlier, and widens the interval"
    assert trend([100.0, 120.0, 140.0, 160.0, 180.0]) is None, "five rounds"
    assert trend([]) is None


def test_the_reasons_name_figures_and_bounds() -> None:
    steady = [100.0 + (at % 3) for at in range(8)]
    assert machine_reasons(steady, steady, watched()) == []
    other = [1.3 * ms + at % 2 for at, ms in enumerate(steady)]
    (pair,) = machine_reasons(other, steady, watched())
    assert pair == "the A/A pair differs by 1.30x, two models that are the same (bound 1.10x)"
    (pair,) = machine_reasons(steady, other, watched())
    assert pair.startswith("the A/A pair differs by 0.77x")
    noisy = [ms * factor for ms, factor in zip(steady, [1.0, 1.6, 0.9, 1.7] * 2, strict=True)]
    assert machine_reasons(noisy, steady, watched()) == [], "1.26 times on the whole, and no more than noise"
    slower = [ms * (1.5 if at >= 4 else 1.0) for at, ms in enumerate(steady)]
    (changed,) = machine_reasons(slower, slower, watched())
    assert changed == "the same steps took 1.50x the time at the end of the rounds (bound 1.25x)"


@pytest.mark.parametrize(
    ("threads", "cores", "others", "stolen", "share"),
    [
        (2, 2, 0.0, 0.0, 0.0),
        (2, 2, 0.66, 0.0, 0.33),  # one busy process beside two threads on two cores
        (2, 64, 32.0, 0.0, 0.0),  # others on cores that nobody here wants
        (1, 2, 1.0, 0.0, 0.0),
        (1, 2, 1.5, 0.0, 0.5),
        (2, 64, 0.0, 1.0, 0.5),  # what a host takes was wanted
        (8, 2, 0.5, 0.0, 0.25),  # more threads than cores need no more than the cores
    ],
)
def test_crowding_counts_what_the_threads_lack(
    threads: int, cores: int, others: float, stolen: float, share: float
) -> None:
    wall, own = 20.0, 1.5 * 20
    log = watched(
        reading(5.0, own_cpu_s=7.0, busy_cpu_s=100.0, steal_cpu_s=3.0),
        reading(5.0 + wall, own_cpu_s=7.0 + own, busy_cpu_s=100.0 + own + others * wall, steal_cpu_s=3 + stolen * wall),
        threads=threads,
        cores=cores,
    )
    assert crowding(log) == pytest.approx(share)
    reasons = machine_reasons([], [], log)
    assert bool(reasons) == (share > 0.25)
    if reasons:
        assert reasons == [f"other processes or the host took {share:.0%} of the cores needed (bound 25%)"]


def test_crowding_is_not_read_in_a_moment_or_on_a_gpu() -> None:
    busy = {"own_cpu_s": 0.0, "busy_cpu_s": 8.0}
    assert crowding(watched(reading(0.0), reading(4.0, **busy))) is None
    assert crowding(watched()) is None
    late = watched(reading(0.0), reading(6.0, **busy), device=torch.device("cuda"))
    assert machine_reasons([], [], late) == []


def test_clock_heat_and_gpu() -> None:
    """By the middle of several readings; the one before the first round is of an idle machine."""

    def told(**series: Any) -> list[str]:
        return machine_reasons([], [], watched(*rounds(6, **series)))

    assert told(clock_mhz=[800] + 3 * [4000] + 3 * [3900]) == []
    assert told(clock_mhz=[800] + 3 * [4000] + 3 * [3000]) == ["the clock fell from 4,000 to 3,000 MHz (bound 80%)"]
    assert told(clock_mhz=[4000] + 6 * [2600]) == [] and told(clock_mhz=7 * [None]) == []
    assert told(temperature_c=[99.0] + 6 * [90.0]) == [] and told(temperature_c=[50.0] + 2 * [99.0] + 4 * [80.0]) == []
    assert told(temperature_c=[50.0] + 4 * [99.0] + 2 * [80.0]) == ["the processor stood at 99 C (bound 95 C)"]
    assert told(gpu_throttled=[True] + 6 * [False]) == [] and told(gpu_throttled=7 * [None]) == []
    assert told(gpu_throttled=[False] + 3 * [True] + 3 * [False]) == ["the GPU slowed itself down in 3 of 6 rounds"]


def test_what_nvidia_smi_prints() -> None:
    assert parse_gpu("45, 1755, Not Active, Not Active\n") == {
        "gpu_temperature_c": 45.0,
        "gpu_clock_mhz": 1755.0,
        "gpu_throttled": False,
    }
    assert parse_gpu("91, 1200, Not Active, Active")["gpu_throttled"] is True
    assert set(parse_gpu("[N/A], [Not Supported], [N/A], [N/A]").values()) == {None}
    assert parse_gpu("No devices were found") == {} and parse_gpu("") == {}


def test_this_machine_is_read() -> None:
    """Differences of processor time are those of the work done between."""
    log = MachineLog(device=CPU)
    log()
    while torch.ones(200, 200).matmul(torch.ones(200, 200)).sum() and log.readings[-1].own_cpu_s < (
        log.readings[0].own_cpu_s + 0.2
    ):
        log()
    first, last = log.readings[0], log.readings[-1]
    assert last.at_s > first.at_s and last.busy_cpu_s >= first.busy_cpu_s
    assert read_machine(CPU).gpu_throttled is None
    told = log.as_json()
    assert told["threads"] >= 1 and told["cores"] >= 1 and len(told["readings"]) == len(log.readings)
