"""A calibration timed as it is made: parts sum to the whole, a planted drift is found, the bases are calibrate's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.calibration import doubt, reasons, timed_calibration
from bench.cli import request_of
from bench.machine import MachineLog, Reading
from bench.speed import parser
from sparsegrad import calibrate

CPU = torch.device("cpu")
STEPS = 3


def log(others: float = 0.0) -> MachineLog:
    """Ten seconds of one thread on one core, of which others had that share."""
    told: dict[str, Any] = {"steal_cpu_s": None, "load_1min": None, "clock_mhz": None, "temperature_c": None}
    start = Reading(at_s=0.0, own_cpu_s=0.0, busy_cpu_s=0.0, **told)
    end = Reading(at_s=10.0, own_cpu_s=5.0, busy_cpu_s=5.0 + 10 * others, **told)
    return MachineLog(device=CPU, threads=1, cores=1, readings=[start, end])


@pytest.mark.parametrize(("options", "passes"), [({"basis": "shared"}, 1), ({"basis": "per-block", "kept": 5}, 2)])
def test_batches_and_what_comes_after_are_the_whole(folder: Path, options: dict[str, Any], passes: int) -> None:
    words = ["--model", str(folder), "--random-weights", "--batch-size", "2", "--max-length", "16", "--device", "cpu"]
    request = request_of(parser().parse_args([*words, "--calibration-steps", str(STEPS)]))
    workload = request.workload()
    made, told = timed_calibration(request.fresh_model(workload), workload.calibration_batches, STEPS, CPU, **options)
    assert len(told["batches_s"]) == passes * STEPS and min(told["batches_s"]) > 0
    assert sum(told["batches_s"]) + told["finish_s"] == pytest.approx(told["calibration_s"], rel=1e-9)
    assert len(told["machine"]["readings"]) == 2
    json.dumps(told, allow_nan=False)
    plain = calibrate(request.fresh_model(workload), workload.calibration_batches, STEPS, **options).to_tensors()[0]
    assert plain.keys() == made.to_tensors()[0].keys()
    assert all(torch.equal(tensor, plain[name]) for name, tensor in made.to_tensors()[0].items())


def series(count: int, **planted: float) -> list[float]:
    """Batches of a tenth of a second with noise of 2%; from the given one on (``at``) they take ``factor`` as long."""
    noise = np.random.default_rng(1).normal(0, 0.02, count)
    rise = np.arange(count) >= planted.get("at", count)
    return (0.1 * np.exp(noise) * np.where(rise, planted.get("factor", 1.0), 1.0)).tolist()


def test_a_steady_machine_gives_no_reason() -> None:
    assert reasons(series(30), 30, log()) == reasons([], 30, log()) == []


def test_a_dear_first_batch_hides_no_drift() -> None:
    """It is left out: beside it the change would look like noise."""
    first, *others = series(10, at=5, factor=1.5)
    assert len(reasons([20 * first, *others], 10, log())) == 1


def test_a_second_pass_and_a_dear_first_batch_are_no_drift() -> None:
    """Of a fixed support: other work, and what is made once before it."""
    first, second = series(10), [2 * spent for spent in series(10)]
    assert reasons([20 * first[0], *first[1:], 50 * second[0], *second[1:]], 10, log()) == []


@pytest.mark.parametrize("of", [0, 1])
def test_a_planted_drift_is_found_in_either_pass(of: int) -> None:
    passes = [series(10), series(10)]
    passes[of] = series(10, at=5, factor=1.6)
    (why,) = reasons([*passes[0], *passes[1]], 10, log())
    assert why.startswith("the time of a batch changed by 1.") and why.endswith("x over the calibration")


def test_a_busy_machine_is_told_and_doubted() -> None:
    why = reasons(series(10), 10, log(others=0.5))
    assert why == ["other processes or the host took 50% of the cores needed (bound 25%)"]
    assert doubt({"machine": {"reasons": [*why, "hot"]}}) == f"{why[0]}; hot"
    assert doubt({"machine": {"reasons": []}}) is doubt({"machine": None}) is doubt({}) is None
