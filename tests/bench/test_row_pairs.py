"""Methods beside those that claims about them are made against: speed, memory, losses where they are to be equal."""

from typing import Any

import pytest

from bench.fresh import failure
from bench.record import Record, Status
from bench.rows import result
from sparsegrad.methods import METHODS
from tests.bench.ring import CALIBRATED, MIB, contestant, peak, peaks, record, ring, scaled

COMPACT_AND_LIMIT = {"sparsegrad-compact": 0.64, "frozen-drop": 0.32}


def test_the_pair_of_equal_mathematics() -> None:
    sd = contestant("sparsegrad-sd", scaled(0.375), losses=[1.0, 0.5, 0.25, 0.0625])
    (pair,) = result(ring(sparsegrad_sd=sd), peaks(), CALIBRATED, None)["pairs"]
    assert (pair["method"], pair["over"]) == ("sparsegrad-sd", "sparsegrad-regular")
    assert pair["speed_ratio"]["mean"] == pytest.approx(2.0), "sd over regular, as speeds"
    assert pair["peak_ratio"] == 1.0
    assert pair["largest_loss_difference"] == 0.0625
    assert pair["steps"] == 4


def compact_beside(**others: Record) -> list[dict[str, Any]]:
    """The pairs of a run in which compact, 5/4 as fast as LoRA, has 40 MiB at its peak."""
    made = {name.replace("-", "_"): contestant(name, scaled(f)) for name, f in COMPACT_AND_LIMIT.items()}
    records = {"sparsegrad_compact": peak(40 * MIB), "frozen_drop": peak(25 * MIB), **others}
    found: list[dict[str, Any]] = result(ring(**made), peaks(**records), CALIBRATED, None)["pairs"]
    return [pair for pair in found if pair["method"] == "sparsegrad-compact"]


def test_compact_stands_beside_lora_and_the_limits() -> None:
    """Speed and memory; other mathematics, so that losses say nothing of a mistake."""
    pairs = compact_beside()
    assert [pair["over"] for pair in pairs] == list(METHODS["sparsegrad-compact"].beside)
    assert {pair["over"]: pair["peak_ratio"] for pair in pairs} == {"lora": 0.5, "frozen-drop": 1.6, "frozen": 0.8}
    speeds = {"lora": 0.8 / 0.64, "frozen-drop": 0.32 / 0.64, "frozen": 0.4 / 0.64}
    assert {pair["over"]: pair["speed_ratio"]["mean"] for pair in pairs} == pytest.approx(speeds)
    assert all(pair["largest_loss_difference"] is None and pair["steps"] == 4 for pair in pairs)


@pytest.mark.parametrize("lost", ["lora", "sparsegrad_compact"])
def test_without_a_peak_a_pair_keeps_its_speed(lost: str) -> None:
    pairs = compact_beside(**{lost: record("peak", Status.OOM, "no room")})
    ratios = {pair["over"]: pair["peak_ratio"] for pair in pairs}
    assert ratios == ({"lora": None, "frozen-drop": 1.6, "frozen": 0.8} if lost == "lora" else dict.fromkeys(ratios))
    assert all(pair["speed_ratio"]["mean"] > 0 for pair in pairs) and len(pairs) == 3


def test_a_pair_needs_both_of_it() -> None:
    """A rival that failed, or was not asked for, is no pair."""
    gone = contestant("lora", scaled(0.8)[:2], failure=failure(MemoryError()), losses=[])
    fast = contestant("sparsegrad-compact", scaled(0.64))
    value = result(ring(lora=gone, sparsegrad_compact=fast), peaks(sparsegrad_compact=peak(MIB)), CALIBRATED, None)
    assert [p["over"] for p in value["pairs"] if p["method"] == "sparsegrad-compact"] == ["frozen"]
    lost = contestant("sparsegrad-compact", scaled(0.64)[:2], failure=failure(MemoryError()), losses=[])
    assert {p["method"] for p in result(ring(sparsegrad_compact=lost), peaks(), {}, None)["pairs"]} == {"sparsegrad-sd"}
