"""Steps a second at the size found: a mean with its interval, samples without one on a bad machine, or why not."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from bench.capacity.cells import NOT_ASKED, Search
from bench.capacity.speed import reasons, settled, untimed
from bench.capacity.table import print_capacity
from bench.fresh import Outcome
from bench.machine import MachineLog, Reading
from bench.record import Record, Status
from tests.bench.ring import record

STEADY = [100.0, 101.0, 99.0, 100.0, 102.0, 98.0]
RISING = [100.0, 101.0, 99.0, 150.0, 151.0, 149.0]
SEARCH = Search(find="batch", fixed=16, budget_bytes=2**30, predicts=True, times=True, drift="invalid")
CROWDED = "other processes or the host took 50% of the cores needed (bound 25%)"


def log(others: float) -> MachineLog:
    """Ten seconds of one thread on one core, of which others had that share."""
    told: dict[str, Any] = {"steal_cpu_s": None, "load_1min": 1.0, "clock_mhz": None, "temperature_c": None}
    start = Reading(at_s=0.0, own_cpu_s=0.0, busy_cpu_s=0.0, **told)
    end = Reading(at_s=10.0, own_cpu_s=5.0, busy_cpu_s=5.0 + 10 * others, **told)
    return MachineLog(device=torch.device("cpu"), threads=1, cores=1, readings=[start, end])


def read(samples: list[float] = STEADY, others: float = 0.0, drift: str = "invalid") -> Outcome:
    machine = log(others)
    told = {"samples_ms": samples, "samples_by_phase_ms": [], "reasons": reasons(samples, machine)}
    return settled(Outcome(status=Status.OK, value={**told, "machine": machine.as_json()}), "lora", drift)


def test_the_mean_has_an_interval_that_narrows_with_the_turns() -> None:
    value = read().value
    interval = value["steps_per_s_interval"]
    assert value["steps_per_s"] == interval["mean"] == pytest.approx(10.0, rel=0.001) and interval["rounds"] == 6
    assert 9.8 < interval["low"] < 10.0 < interval["high"] < 10.2 and value["samples_ms"] == STEADY
    wider = read([*STEADY[:2], 140.0]).value["steps_per_s_interval"]
    assert wider["high"] - wider["low"] > 5 * (interval["high"] - interval["low"])
    assert value["machine"]["reasons"] == [] and len(value["machine"]["readings"]) == 2
    json.dumps(value, allow_nan=False)


def test_the_interval_covers() -> None:
    """Of 2,000 runs of six turns with noise of 5%, the 95% interval holds the true speed in 93 to 97%."""
    random = np.random.default_rng(3)
    covered = 0
    for logs in random.normal(0, 0.05, (2000, 6)):
        told = {"samples_ms": (200 * np.exp(logs)).tolist(), "reasons": [], "machine": {}}
        interval = settled(Outcome(status=Status.OK, value=told), "lora", "invalid").value["steps_per_s_interval"]
        covered += interval["low"] <= 5.0 <= interval["high"]
    assert 0.93 <= covered / 2000 <= 0.97


@pytest.mark.parametrize(
    ("samples", "others", "reason"),
    [(STEADY, 0.5, CROWDED), (RISING, 0.0, "its time changed by 1.50x over the turns")],
    ids=["busy", "drifting"],
)
def test_a_machine_that_does_not_hold_still_leaves_samples_alone(
    samples: list[float], others: float, reason: str
) -> None:
    lost = read(samples, others)
    assert (lost.status, lost.reason) == (Status.INVALID, f"its steps: {reason}")
    assert lost.value["steps_per_s"] is lost.value["steps_per_s_interval"] is None
    assert lost.value["samples_ms"] == samples and lost.value["machine"]["distrust"] == {"lora": reason}
    noted = read(samples, others, "note")
    assert noted.status is Status.OK and noted.value["steps_per_s"] > 0
    assert noted.value["machine"]["reasons"] == [reason]


def test_a_run_that_failed_keeps_its_status_and_has_no_samples() -> None:
    lost = settled(Outcome(status=Status.OOM, reason="MemoryError"), "lora", "invalid")
    assert (lost.status, lost.reason) == (Status.OOM, "its steps were not timed: MemoryError")
    assert lost.value["not_timed"] == "oom: MemoryError" and lost.value["samples_ms"] == []
    assert untimed("nothing fits").value == {**lost.value, "not_timed": "nothing fits"}


def printed(search: Search = SEARCH, **outcomes: Outcome) -> str:
    size: dict[str, Any] = {
        "size": 7,
        "limited_by": "budget",
        "peak_bytes": 2**30,
        "least_misfit_bytes": 2**31,
        "probes": [{}, {}],
    }
    rows: dict[str, Record] = {
        name: record("capacity", outcome.status, outcome.reason, **size, **outcome.value)
        for name, outcome in outcomes.items()
    }
    console = Console(file=io.StringIO(), width=200)
    print_capacity(console, "[red]title[/red]", search, rows)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_shows_the_interval_and_of_an_invalid_row_reason_and_samples() -> None:
    table = printed(full=read(), lora=read(others=0.5))
    assert "[red]title[/red]" in table and "10 [9.85, 10.2]" in table
    assert "95% CI of 6 timed turns" in table
    row = next(line for line in table.splitlines() if line.startswith("│lora"))
    assert row.rstrip("│ ").endswith("invalid") and "7" in row
    assert f"lora: invalid: its steps: {CROWDED}" in table and "--drift note" in table
    assert "lora, ms a step by round: 100 101 99 100 102 98" in table and "full, ms" not in table


def test_a_noted_machine_is_said_beside_the_figures() -> None:
    table = printed(full=read(drift="note"), lora=read(others=0.5, drift="note"))
    assert table.count("10 [9.85, 10.2]") == 2 and f"not to be trusted, lora: {CROWDED}." in table
    assert "ms a step by round" not in table


def test_where_nothing_is_timed_the_table_says_so_once() -> None:
    search = Search(find="batch", fixed=16, budget_bytes=2**30, predicts=True, times=False, drift="invalid")
    table = printed(search, full=untimed(NOT_ASKED), lora=untimed(NOT_ASKED))
    assert table.count(f"steps/s: n/a, {NOT_ASKED}.") == 1 and "--time" in NOT_ASKED and "not timed" not in table
    assert "95% CI" not in table
    assert "frozen: not timed: 9 bytes needed" in printed(full=read(), frozen=untimed("9 bytes needed, 8 free"))
