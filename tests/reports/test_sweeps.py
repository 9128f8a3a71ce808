"""Swept figures: each point where the record says it is, and a record that cannot be drawn says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.gradients.energy import KEPT_SHARES
from bench.record import Record
from reports.document import Figure, Prose
from reports.gradient_curves import energy_blocks
from reports.reading.gradients import read_gradients
from reports.reading.memory import group_peaks, read_peak
from reports.reading.speed import read_speed
from reports.sweeps import category_blocks, sparsity_blocks
from tests.reports.small_records import peak, record, source, speed

SHARES = list(KEPT_SHARES)


def reading(role: str, space: str, block: int, curve: Any) -> dict[str, Any]:
    return {"role": role, "space": space, "block": block, "energy_share": 0.5, "flatness": 0.1, "curve": curve}


def gradients(*rows: dict[str, Any]) -> Record:
    return record("gradients", result={"rows": list(rows)})


def drawn(blocks: list[Any]) -> list[Figure]:
    assert all(isinstance(block, Figure) for block in blocks)
    return blocks


def test_energy_is_the_mean_over_gradients_by_role_and_space() -> None:
    low, high = [0.2 * share for share in SHARES], [0.6 * share for share in SHARES]
    made = gradients(
        reading("up", "original", 0, low),
        reading("up", "original", 1, high),
        reading("up", "shared", 0, high),
        reading("down", "shared", 0, low),
        reading("down", "shared", 1, None),  # a gradient of zeros has no energy to share
    )
    up, down = drawn(energy_blocks(read_gradients(source(made)), "e"))
    assert "up" in up.title and "down" in down.title
    rows: list[Any] = [(row[0].text, row[1].sort, row[2].sort) for row in up.data.rows]
    means = [("original", share, pytest.approx(0.4 * share)) for share in SHARES]
    assert rows == means + [("shared", share, pytest.approx(0.6 * share)) for share in SHARES]
    assert [row[2].sort for row in down.data.rows] == pytest.approx(low)


@pytest.mark.parametrize("curve", [SHARES[:-1], ["a"] * len(SHARES), {"a": 1}, [1e300] * len(SHARES)])
def test_a_curve_that_cannot_be_read_is_told(curve: Any) -> None:
    (told,) = energy_blocks(read_gradients(source(gradients(reading("up", "shared", 0, curve)))), "e")
    assert isinstance(told, Prose) and told.warning
    assert told.text.startswith("Not shown: result.rows[0].curve")


def swept() -> Record:
    made = speed({"full": [4.0, 4.4], "sd 2%": [2.0, 2.2], "sd 1%": [1.0, 1.1], "frozen": [1.0, 1.0]})
    kept = {"sd 2%": 0.02, "sd 1%": 0.01}
    rows = [
        {
            **row,
            "of_method": row["method"][:2],
            "energy": {"kept_share": kept[row["method"]]} if row["method"] in kept else None,
        }
        for row in made.result["rows"]
    ]
    return replace(made, kind="sparsity", result={**made.result, "rows": rows})


def test_speed_over_kept_entries_ascends_and_leaves_out_what_keeps_none() -> None:
    (figure,) = drawn(sparsity_blocks(read_speed(source(swept())), "s"))
    told: list[Any] = [(row[0].text, row[1].sort, row[2].sort) for row in figure.data.rows]
    assert told == [("sd", 0.01, pytest.approx(4.0)), ("sd", 0.02, pytest.approx(2.0))]
    assert all(row[2].interval for row in figure.data.rows)


def test_a_share_of_nothing_is_told() -> None:
    made = swept()
    made.result["rows"][1]["energy"]["kept_share"] = 0
    (told,) = sparsity_blocks(read_speed(source(made)), "s")
    assert isinstance(told, Prose) and "kept_share" in told.text


def test_a_speed_record_has_no_sweep() -> None:
    assert sparsity_blocks(read_speed(source(speed({"full": [1.0, 1.0]}))), "s") == []


def test_the_peak_is_drawn_by_category_where_it_was_taken_apart() -> None:
    plain, apart = peak("lora", 3 << 20), peak("full", 7 << 20)
    assert category_blocks(group_peaks([read_peak(source(plain))])[0], "c") == []
    parts = {"weights": 5 << 20, "gradients": 2 << 20}
    more = {"attribution_instrument": "tracked", "at_peak": {"by_category_bytes": parts}}
    apart = replace(apart, result={**apart.result, **more})
    (figure,) = drawn(category_blocks(group_peaks([read_peak(source(made)) for made in (plain, apart)])[0], "c"))
    assert [[cell.text for cell in row] for row in figure.data.rows] == [["full", "5", "2"]]
    (told,) = category_blocks(
        group_peaks([read_peak(source(replace(apart, result={**apart.result, "at_peak": "x"})))])[0], "c"
    )
    assert isinstance(told, Prose) and told.text.startswith("Not shown: result.at_peak")
