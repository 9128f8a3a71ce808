"""What calibration costs a row: its own, once, and earned back or not."""

import pytest

from bench.fresh import failure
from bench.record import Status
from bench.rows import result
from tests.bench.ring import (
    ALL,
    CALIBRATED,
    MIB,
    SHARED,
    calibration,
    contestant,
    peak,
    peaks,
    record,
    ring,
    row,
    scaled,
)


def test_a_failed_calibration_is_told_with_its_reason() -> None:
    lost = record("calibration", Status.OOM, "MemoryError")
    gone = {
        name.replace("-", "_"): contestant(
            name, [], failure=failure(RuntimeError("no bases: calibration failed")), losses=[1.0]
        )
        for name in SHARED
    }
    value = result(ring(**gone), peaks(), dict.fromkeys(SHARED, lost), None)
    (told,) = value["calibrations"]
    assert (told["status"], told["reason"], told["calibration_s"]) == ("oom", "MemoryError", None)
    assert row(value, "sparsegrad-sd")["calibration_s"] is None
    assert row(value, "lora")["status"] == "ok"


def test_a_row_has_the_calibration_of_its_own_bases() -> None:
    """Two in one run: each is listed once, and each row is charged with the one that it needed."""
    fast = contestant("sparsegrad-compact", scaled(0.5))
    both = {**CALIBRATED, "sparsegrad-compact": calibration("per-block", 3.0)}
    value = result(ring(sparsegrad_compact=fast), peaks(sparsegrad_compact=peak(MIB)), both, None)
    assert [(told["methods"], told["calibration_s"]) for told in value["calibrations"]] == [
        (list(SHARED), 7.0),
        (["sparsegrad-compact"], 3.0),
    ]
    seconds = {told["method"]: told["calibration_s"] for told in value["rows"]}
    assert seconds == {**dict.fromkeys(ALL), **dict.fromkeys(SHARED, 7.0), "sparsegrad-compact": 3.0}
    earned = {name: row(value, name)["break_even_steps"] for name in ("sparsegrad-sd", "sparsegrad-compact")}
    assert earned["sparsegrad-compact"] / earned["sparsegrad-sd"] == pytest.approx((3.0 + 0.5) / (7.0 + 0.5), rel=1e-6)


def test_where_one_calibration_fails_the_others_rows_stay() -> None:
    gone = contestant("sparsegrad-compact", [], failure=failure(RuntimeError("no bases")), losses=[])
    both = {**CALIBRATED, "sparsegrad-compact": record("calibration", Status.ERROR, "boom", key="other")}
    value = result(ring(sparsegrad_compact=gone), peaks(), both, None)
    assert [told["status"] for told in value["calibrations"]] == ["ok", "error"]
    assert {told["method"]: told["status"] for told in value["rows"]} == {
        **dict.fromkeys(ALL, "ok"),
        "sparsegrad-compact": "error",
    }
    assert row(value, "sparsegrad-sd")["break_even_steps"] is not None


def test_seconds_that_are_not_to_be_trusted_are_earned_back_after_no_known_steps() -> None:
    busy = calibration("shared", 7.0)
    busy.result["machine"] = {"reasons": ["the clock fell", "hot"]}
    fast = ring(sparsegrad_sd=contestant("sparsegrad-sd", scaled(0.5)))
    value = result(fast, peaks(), dict.fromkeys(SHARED, busy), None)
    assert [told["distrust"] for told in value["calibrations"]] == ["the clock fell; hot"]
    assert row(value, "sparsegrad-sd")["break_even_steps"] is None
    assert row(value, "sparsegrad-sd")["calibration_s"] == 7.0 and row(value, "sparsegrad-sd")["status"] == "ok"
    steady = result(fast, peaks(), CALIBRATED, None)
    assert steady["calibrations"][0]["distrust"] is None
    assert row(steady, "sparsegrad-sd")["break_even_steps"] is not None


@pytest.mark.parametrize("faster", [False, True])
def test_break_even_is_a_figure_only_where_something_is_earned(faster: bool) -> None:
    value = result(
        ring(sparsegrad_sd=contestant("sparsegrad-sd", scaled(0.5 if faster else 1.5))), peaks(), CALIBRATED, 0
    )
    assert (row(value, "sparsegrad-sd")["break_even_steps"] is not None) == faster
    # Faster too, but nothing was set up by calibration.
    assert row(value, "lora")["verdict"] == "faster"
    assert row(value, "lora")["break_even_steps"] is None and row(value, "lora")["calibration_s"] is None
