"""From samples by hand to a cell's result: who wins, what sd gains by, what a failed way or a bad machine leaves."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from rich.console import Console

from bench.crossover.cells import settled
from bench.crossover.measure import SECOND_DENSE, cell_result
from bench.crossover.table import print_crossover, winner_word
from bench.crossover.ways import ALL_ENTRIES, ALL_ROWS, DENSE
from bench.fresh import Outcome, failure
from bench.machine import MachineLog
from bench.record import Record, Status
from tests.bench.ring import contestant, record

CONFIG = {"out": 16, "inner": 8, "active": 1.0, "kept": 5, "rounds": 5}
WOBBLE = (1.0, 1.002, 0.999, 1.001, 0.998)
FACTORS = {
    DENSE: 100,
    "regular": 400,
    "sd": 200,
    "planned": 90,
    "compact": 60,
    "torch-csr": 500,
    "torch-coo": 700,
    ALL_ROWS: 410,
    ALL_ENTRIES: 220,
    SECOND_DENSE: 100,
}


def samples(ms: float, at: int) -> list[float]:
    """Five rounds; each way wobbles in an order of its own."""
    return [ms * WOBBLE[(at + number) % 5] for number in range(5)]


def told(drift: str = "invalid", /, **others: list[float] | Exception) -> dict[str, Any]:
    ring = []
    for at, (name, ms) in enumerate(FACTORS.items()):
        other = others.get(name)
        made = contestant(name, other if isinstance(other, list) else samples(ms, at))
        if isinstance(other, Exception):
            made.failure = failure(other)
        ring.append(made)
    return cell_result(ring, MachineLog(device=torch.device("cpu"), threads=1, cores=1), drift)


def rows(value: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["way"]: row for row in value["ways"]}


def test_the_fastest_wins_where_it_is_told_from_the_next() -> None:
    value = told()
    assert value["winner"]["way"] == "compact" and value["winner"]["over"] == "planned" and value["winner"]["clear"]
    assert (
        value["winner"]["ratio"]["mean"] == pytest.approx(1.5, rel=0.01) and winner_word(value["winner"]) == "compact"
    )
    assert rows(value)["sd"]["ratio_to_dense"]["mean"] == pytest.approx(0.5, rel=0.01)
    assert rows(value)["sd"]["verdict"] == "slower" and rows(value)["compact"]["verdict"] == "faster"
    assert value["aa"]["mean"] == pytest.approx(1.0, rel=0.01) and value["aa"]["detectable_ratio"] > 1


def test_two_that_are_not_told_apart_are_a_tie() -> None:
    value = told(planned=[60.0, 61.0, 59.0, 60.5, 59.5])
    assert not value["winner"]["clear"]
    assert winner_word(value["winner"]) in ("~ compact, planned", "~ planned, compact")


def test_inside_the_aa_noise_nothing_is_clear() -> None:
    value = told(**{SECOND_DENSE: [100.0, 180.0, 60.0, 150.0, 70.0]})
    assert not value["winner"]["clear"] and {row["verdict"] for row in value["ways"]} == {"~", "slower"}


def test_the_benefit_is_padding_times_the_rest() -> None:
    benefit = told()["sd_benefit"]
    assert benefit["total"]["mean"] == pytest.approx(benefit["padding"]["mean"] * benefit["rest"]["mean"], rel=1e-12)
    assert benefit["total"]["mean"] == pytest.approx(400 / 200, rel=0.01)
    assert benefit["padding"]["mean"] == pytest.approx(410 / 200, rel=0.01)
    assert benefit["rest"]["mean"] == pytest.approx(400 / 410, rel=0.01)
    assert benefit["sparsity"]["mean"] == pytest.approx(220 / 200, rel=0.01)


def test_a_way_that_fails_is_a_row_and_the_others_are_compared() -> None:
    value = told(compact=torch.OutOfMemoryError("no room"), sd=RuntimeError("boom"))
    lost = rows(value)["compact"]
    assert (lost["status"], lost["reason"], lost["step_ms"]) == ("oom", "OutOfMemoryError: no room", None)
    assert value["winner"]["way"] == "planned" and value["winner"]["over"] == DENSE
    assert value["sd_benefit"] == {
        **dict.fromkeys(("total", "padding", "sparsity")),
        "rest": value["sd_benefit"]["rest"],
    }
    outcome = settled(Outcome(status=Status.OK, value=value))
    assert outcome.status is Status.ERROR and outcome.value is value
    assert outcome.reason == "sd: error: RuntimeError: boom; compact: oom: OutOfMemoryError: no room"


def test_without_dense_the_others_still_have_a_time() -> None:
    value = told(dense=RuntimeError("boom"))
    assert rows(value)["sd"]["step_ms"] is not None and rows(value)["sd"]["ratio_to_dense"] is None
    assert value["aa"] is None and value["winner"]["way"] == "compact" and not value["winner"]["clear"]


def test_a_bad_machine_leaves_samples_alone() -> None:
    """An A/A pair far apart: no way has a figure, every way has its samples."""
    apart = {SECOND_DENSE: [150.0 * w for w in WOBBLE]}
    value = told(**apart)
    assert {row["status"] for row in value["ways"]} == {"invalid"} and value["winner"] is None
    assert all(row["step_ms"] is None and len(row["samples_ms"]) == 5 for row in value["ways"])
    assert set(value["sd_benefit"].values()) == {None} and winner_word(None) == "n/a"
    assert settled(Outcome(status=Status.OK, value=value)).status is Status.INVALID
    noted = told("note", **apart)
    assert {row["status"] for row in noted["ways"]} == {"ok"} and noted["machine"]["distrust"].keys() == FACTORS.keys()
    json.dumps(value, allow_nan=False)


def test_beside_a_way_that_is_invalid_nothing_wins() -> None:
    """compact drifts on its own from half of dense's time to twice as long: it may be the fastest, or not."""
    drifting = [50.0 * 1.15**number * WOBBLE[number % 5] for number in range(10)]
    steady = {name: samples(ms, at) * 2 for at, (name, ms) in enumerate(FACTORS.items())}
    value = told(**{**steady, "compact": drifting})
    assert {name for name, row in rows(value).items() if row["status"] == "invalid"} == {"compact"}
    assert value["winner"] is None and rows(value)["planned"]["ratio_to_dense"] is not None
    assert told("note", **{**steady, "compact": drifting})["winner"] is not None


def shown(cell: Record) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_crossover(console, "title", [cell])
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_what_a_cell_could_have_told_is_shown_beside_who_wins() -> None:
    value = told()
    row = next(
        line for line in shown(replace(record("crossover", **value), config=CONFIG)).splitlines() if "│16x8" in line
    )
    cells = [cell.strip() for cell in row.split("│")]
    assert cells[-3:-1] == [f"{value['aa']['detectable_ratio']:.2f}x", "compact"]


def test_a_factor_inside_the_noise_is_marked() -> None:
    """regular takes as long as sd without zero rows, and twice as long as sd; dense differs from itself by 1%."""
    steady = told(regular=samples(410, 1))
    line = next(line for line in shown(replace(record("crossover", **steady), config=CONFIG)).splitlines()[8:]
                if "│16x8" in line)  # fmt: skip
    total, padding, rest, sparsity = (cell.strip() for cell in line.split("│")[4:8])
    assert rest.startswith("~ 1.00x") and total.startswith("2.05x") and padding.startswith("2.05x")
    assert sparsity.startswith("1.10x")
    noisy = told(**{SECOND_DENSE: [100.0, 180.0, 60.0, 150.0, 70.0]})
    assert shown(replace(record("crossover", **noisy), config=CONFIG)).count("~ 1.10x") == 1


def test_an_invalid_cell_is_printed_with_its_reason_and_raw_samples() -> None:
    value = told(**{SECOND_DENSE: [150.0 * w for w in WOBBLE]})
    lost = settled(Outcome(status=Status.OK, value=value))
    printed = shown(replace(record("crossover", lost.status, lost.reason, **value), config=CONFIG))
    assert "16x8, 100%, 3.91%: invalid: dense, regular, sd, " in printed and "the A/A pair differs by 0.67x" in printed
    assert "--drift note" in printed
    for row in value["ways"]:
        raw = " ".join(f"{ms:.4g}" for ms in row["samples_ms"])
        assert f"16x8, 100%, 3.91%: {row['way']}, ms a step by round: {raw}" in printed


def test_nothing_measured_is_no_winner() -> None:
    value = told(**{name: MemoryError() for name in FACTORS})
    assert value["winner"] is None and value["aa"] is None
    lost = Outcome(status=Status.OOM, reason="killed")
    assert settled(lost) is lost
