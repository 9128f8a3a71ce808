"""From measured turns and records to rows: hand-made contestants, whole expected results."""

import json
import math
from typing import Any

import pytest
import torch

from bench.fresh import failure
from bench.record import Status
from bench.rows import SECOND_BASELINE, result, speed_ratio
from bench.train import LossNotFinite
from sparsegrad.errors import NonFiniteGradient
from tests.bench.ring import (
    ALL,
    CALIBRATED,
    FULL,
    MIB,
    TWIN,
    contestant,
    peaks,
    record,
    ring,
    row,
    scaled,
)


def numbers(value: Any) -> list[float]:
    """Every number in a JSON value."""
    if isinstance(value, dict):
        return [n for item in value.values() for n in numbers(item)]
    if isinstance(value, list | tuple):
        return [n for item in value for n in numbers(item)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def test_a_method_twice_as_fast_has_ratio_two() -> None:
    """Speeds, not times: above 1 is faster; exact where each round shows the same ratio."""
    twice = speed_ratio([100.0, 110.0, 130.0], [50.0, 55.0, 65.0])
    assert (twice.mean, twice.low, twice.high) == pytest.approx((2.0, 2.0, 2.0))
    half = speed_ratio([50.0], [100.0])
    assert (half.mean, half.low, half.high) == pytest.approx((0.5, 0.0, math.inf))


def test_a_whole_row() -> None:
    sd = contestant(
        "sparsegrad-sd",
        [50.0, 50.0],
        losses=[0.7, 0.6, 0.5],
        kept_entries={"layers": 4, "least": 5, "most": 5, "sum": 20},
        rounds_tokens=[20.0, 25.0],
    )
    base = [contestant("full", [100.0, 100.0]), contestant(SECOND_BASELINE, [100.0, 100.0])]
    value = result([*base[:1], sd, *base[1:]], peaks(), CALIBRATED, 0.875)
    assert [r["method"] for r in value["rows"]] == ["full", "sparsegrad-sd"]
    assert row(value, "sparsegrad-sd") == {
        "method": "sparsegrad-sd",
        "status": "ok",
        "reason": None,
        "steps_per_s": pytest.approx(20.0),
        "ratio_to_full": {
            "mean": pytest.approx(2.0),
            "low": pytest.approx(2.0),
            "high": pytest.approx(2.0),
            "rounds": 2,
        },
        "verdict": "faster",
        "sign_p": pytest.approx(0.5),  # two rounds won of two
        "step_ms": pytest.approx(50.0),
        # 20 and 25 tokens in 50 ms each.
        "tokens_per_s": pytest.approx(450.0),
        "forward_ms": pytest.approx(12.5),
        "backward_ms": pytest.approx(25.0),
        "optimizer_ms": pytest.approx(12.5),
        "peak_bytes": 125 * MIB,
        "peak_instrument": "tracked",
        "peak_by_phase_bytes": {"forward": 125 * MIB, "backward": 1, "optimizer": 1},
        "peak_requested_bytes": None,
        "peak_reserved_bytes": None,
        "peak_ratio_to_full": pytest.approx(1.25),
        "trainable_parameters": 10,
        "updated_parameters": 5,
        "adapter_bytes": 40,
        "kept_entries": {"layers": 4, "least": 5, "most": 5, "sum": 20},
        "convert_s": 0.5,
        "calibration_s": 7.0,
        "calibration_peak_bytes": 3 * MIB,
        # 7 s and 0.5 s of setup, 50 ms earned a step.
        "break_even_steps": pytest.approx(150.0),
        "losses": [0.7, 0.6, 0.5],
        "samples_ms": [50.0, 50.0],
        "samples_by_phase_ms": [{"forward": 12.5, "backward": 25.0, "optimizer": 12.5}] * 2,
    }
    assert value["zero_row_share"] == 0.875
    interval = {"mean": 1.0, "low": 1.0, "high": 1.0, "rounds": 2}
    told = {"method": SECOND_BASELINE, "status": "ok", "reason": None, "samples_ms": [100.0, 100.0]}
    assert value["aa"] == {**told, **interval, "detectable_ratio": 1.0}
    assert value["calibrations"] == [
        {
            "methods": ["sparsegrad-regular", "sparsegrad-sd"],
            "status": "ok",
            "reason": None,
            "distrust": None,
            "basis": "shared",
            "calibration_s": 7.0,
            "steps": 30,
            "peak_bytes": 3 * MIB,
            "instrument": "tracked",
        }
    ]
    assert value["pairs"] == [], "its twin in mathematics did not run"


def test_the_second_baseline_is_no_row_and_full_is_one_to_itself() -> None:
    value = result(ring(), peaks(), CALIBRATED, None)
    assert [r["method"] for r in value["rows"]] == list(ALL)
    assert row(value, "full")["ratio_to_full"] == {"mean": 1.0, "low": 1.0, "high": 1.0, "rounds": 4}
    assert row(value, "full")["verdict"] == "~"
    assert value["aa"]["samples_ms"] == TWIN


def test_verdicts_are_measured_against_the_aa_pair() -> None:
    value = result(ring(lora=contestant("lora", [ms * 0.999 for ms in FULL])), peaks(), CALIBRATED, None)
    told = {r["method"]: r["verdict"] for r in value["rows"]}
    assert told["lora"] == "~", "0.1% with an interval clear of 1, inside the A/A noise"
    assert row(value, "lora")["ratio_to_full"]["low"] > 1
    assert told["sparsegrad-sd"] == "faster" and told["meprop"] == "slower"


def test_one_round_says_nothing_and_no_infinity_is_written() -> None:
    three = [contestant(name, [ms]) for name, ms in (("full", 100.0), ("lora", 50.0), (SECOND_BASELINE, 90.0))]
    value = result(three, peaks(), {}, None)
    assert row(value, "lora")["ratio_to_full"] == {"mean": pytest.approx(2.0), "low": 0.0, "high": None, "rounds": 1}
    assert row(value, "lora")["verdict"] == "~"
    assert value["calibrations"] == []


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (torch.OutOfMemoryError("out of memory\nmore"), "oom", "OutOfMemoryError: out of memory"),
        (MemoryError(), "oom", "MemoryError"),
        (LossNotFinite("the loss is nan"), "error", "LossNotFinite: the loss is nan"),
        (NonFiniteGradient("NaN in layer.0"), "error", "NonFiniteGradient: NaN in layer.0"),
    ],
)
@pytest.mark.parametrize("rounds", [0, 2])
def test_a_contestant_that_failed_is_a_row_without_figures(
    error: BaseException, status: str, reason: str, rounds: int
) -> None:
    lost = contestant("sparsegrad-regular", scaled(0.75)[:rounds], failure=failure(error), losses=[1.0, 0.5])
    value = result(ring(sparsegrad_regular=lost), peaks(), CALIBRATED, None)
    told = row(value, "sparsegrad-regular")
    assert (told["status"], told["reason"]) == (status, reason)
    speeds = ("steps_per_s", "tokens_per_s", "ratio_to_full", "verdict", "break_even_steps")
    assert [told[f"{name}_ms"] for name in ("step", "forward", "backward", "optimizer")] == [None] * 4
    assert [told[name] for name in speeds] == [None] * 5
    assert told["peak_bytes"] == 125 * MIB, "its peak was measured, in a process of its own"
    assert len(told["samples_ms"]) == rounds, "raw samples stay"
    assert value["pairs"] == []
    others = [r for r in value["rows"] if r["method"] != "sparsegrad-regular"]
    assert all(r["status"] == "ok" and r["steps_per_s"] for r in others)


def test_a_peak_that_failed_is_the_rows_status_and_its_speed_stays() -> None:
    lost = record("peak", Status.OOM, "the process was killed (signal 9)")
    told = row(result(ring(), peaks(lora=lost), CALIBRATED, None), "lora")
    assert (told["status"], told["reason"]) == ("oom", "peak memory: the process was killed (signal 9)")
    assert told["steps_per_s"] is not None
    names = ("peak_bytes", "peak_instrument", "peak_by_phase_bytes", "peak_ratio_to_full", "trainable_parameters")
    assert [told[name] for name in (*names, "adapter_bytes")] == [None] * 6


def test_without_the_baselines_peak_there_is_no_peak_ratio() -> None:
    value = result(ring(), peaks(full=record("peak", Status.ERROR, "boom")), CALIBRATED, None)
    assert [r["peak_ratio_to_full"] for r in value["rows"]] == [None] * 6
    assert row(value, "lora")["peak_bytes"] == 80 * MIB and row(value, "lora")["status"] == "ok"


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_when_full_fails_the_others_keep_their_steps_a_second(rounds: int) -> None:
    """Full out of memory is the very case in which the others are of interest: no ratio, but a speed."""
    lost = contestant("full", FULL[:rounds], failure=failure(torch.OutOfMemoryError("no room")))
    value = result(ring(full=lost), peaks(), CALIBRATED, None)
    assert row(value, "full")["status"] == "oom" and row(value, "full")["steps_per_s"] is None
    for told in value["rows"][1:]:
        assert told["status"] == "ok" and told["ratio_to_full"] is None and told["verdict"] is None
        assert told["steps_per_s"] == pytest.approx(1e3 * 4 / sum(told["samples_ms"]))
        assert told["tokens_per_s"] == pytest.approx(30 * told["steps_per_s"])
        assert told["step_ms"] == pytest.approx(told["forward_ms"] + told["backward_ms"] + told["optimizer_ms"])
        assert told["break_even_steps"] is None


def test_no_aa_pair_of_two_that_failed_together() -> None:
    """Two equal halves of a run that was given up are no measure of the machine."""
    lost = {
        name: contestant(name, FULL[:2], failure=failure(torch.OutOfMemoryError("no room")))
        for name in ("full", SECOND_BASELINE)
    }
    value = result(ring(**lost), peaks(), CALIBRATED, None)
    assert value["aa"]["mean"] is None


def test_without_an_aa_pair_nothing_is_called_faster() -> None:
    lost = contestant(SECOND_BASELINE, [], failure=failure(torch.OutOfMemoryError("no room")))
    value = result(ring(**{SECOND_BASELINE: lost}), peaks(), CALIBRATED, None)
    assert value["aa"]["mean"] is None and value["aa"]["status"] == "oom"
    assert all(row["verdict"] in (None, "~") for row in value["rows"]), "nothing tells it from noise"
    assert all(r["verdict"] in (None, "~") and r["break_even_steps"] is None for r in value["rows"])
    assert row(value, "sparsegrad-sd")["ratio_to_full"]["mean"] == pytest.approx(2.0, rel=1e-3)


def test_a_rounds_tokens_weigh_by_its_time() -> None:
    """Tokens over time, not a mean of rates: a short round of few tokens counts for what it was."""
    uneven = contestant("lora", [10.0, 90.0], rounds_tokens=[10.0, 180.0])
    base = [contestant(name, [100.0, 100.0]) for name in ("full", SECOND_BASELINE)]
    told = row(result([base[0], uneven, base[1]], peaks(), {}, None), "lora")
    assert told["tokens_per_s"] == pytest.approx(1e3 * (10 + 180) / (10 + 90))


@pytest.mark.parametrize("rounds", [1, 4])
def test_whatever_happened_is_strict_json_without_sentinels(rounds: int) -> None:
    """Failed, killed, never begun: None, never NaN, infinity, zero for unknown or -1."""
    rings = [ring(), ring(lora=contestant("lora", [], failure=failure(MemoryError()), losses=[])), ring()]
    rings[2][0] = contestant("full", [], failure=failure(MemoryError()), losses=[])
    for members in rings:
        for member in members:
            member.rounds_ms = member.rounds_ms[:rounds]
        value = result(members, peaks(frozen=record("peak", Status.ERROR, "x")), CALIBRATED, None)
        json.dumps(value, allow_nan=False)
        record("speed", Status.OK, None, **value).to_json()
        assert all(math.isfinite(n) and n >= 0 for n in numbers(value))
        for told in value["rows"]:
            assert told["steps_per_s"] != 0 and told["peak_bytes"] != 0
