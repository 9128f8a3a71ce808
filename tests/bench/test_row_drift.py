"""Rows that were measured on a machine that did not hold still: invalid with the reason, raw samples kept."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import torch
from rich.console import Console

from bench.machine import MachineLog, Reading
from bench.rows import SECOND_BASELINE, failures, result
from bench.sparsity.table import print_sparsity
from bench.tables import print_speed
from tests.bench.ring import FULL, contestant, peaks, row

STEADY = [100.0, 101.0, 99.0, 100.0, 102.0, 98.0, 100.0, 101.0]
CROWDED = "other processes or the host took 50% of the cores needed (bound 25%)"


def log(share: float) -> MachineLog:
    """Ten seconds of two threads on two cores, of which others had that share."""
    told: dict[str, Any] = {"steal_cpu_s": None, "load_1min": 1.0, "clock_mhz": None, "temperature_c": None}
    start = Reading(at_s=0.0, own_cpu_s=0.0, busy_cpu_s=0.0, **told)
    end = Reading(at_s=10.0, own_cpu_s=5.0, busy_cpu_s=5.0 + 20 * share, **told)
    return MachineLog(device=torch.device("cpu"), threads=2, cores=2, readings=[start, end])


def measured(
    share: float, drift: str = "invalid", *, twin: list[float] = STEADY, lora: list[float] | None = None
) -> dict[str, Any]:
    """full, its twin and lora, which takes half the time unless told otherwise."""
    taken = {"full": STEADY, SECOND_BASELINE: twin, "lora": [ms / 2 for ms in STEADY] if lora is None else lora}
    value = result([contestant(name, ms) for name, ms in taken.items()], peaks(), {}, None, log(share), drift=drift)
    return {**value, "workload": {"tokenizer": None}}


def text(value: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=160)
    print_speed(console, "title", value)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_a_steady_machine_leaves_rows_as_they_are() -> None:
    value = measured(0.0)
    assert [each["status"] for each in (*value["rows"], value["aa"])] == ["ok"] * 3
    assert value["machine"]["reasons"] == [] and value["machine"]["distrust"] == {}
    assert len(value["machine"]["readings"]) == 2 and value["aa"]["detectable_ratio"] == 1.0
    assert "did not hold still" not in text(value)


def test_a_busy_machine_makes_every_row_invalid_and_keeps_the_samples() -> None:
    value = measured(0.5)
    lora = row(value, "lora")
    for each in (*value["rows"], value["aa"]):
        assert (each["status"], each["reason"]) == ("invalid", CROWDED)
    assert lora["samples_ms"] == [ms / 2 for ms in STEADY] and lora["samples_by_phase_ms"]
    for figure in ("steps_per_s", "ratio_to_full", "verdict", "sign_p", "step_ms", "tokens_per_s", "break_even_steps"):
        assert lora[figure] is None, figure
    assert lora["peak_bytes"] is not None, "memory does not drift"
    assert failures(value) == [f"full, lora, {SECOND_BASELINE}: invalid: {CROWDED}"]
    told = text(value)
    assert "invalid" in told and "--drift note" in told and told.count(CROWDED) == 1
    for name, factor in {"full": 1, SECOND_BASELINE: 1, "lora": 0.5}.items():
        assert f"{name}, ms a step by round: {' '.join(f'{factor * ms:g}' for ms in STEADY)}" in told
    json.dumps(value, allow_nan=False)


def test_a_note_prints_the_figures_beside_the_reason() -> None:
    value = measured(0.5, "note")
    assert [each["status"] for each in value["rows"]] == ["ok", "ok"] and failures(value) == []
    assert row(value, "lora")["ratio_to_full"]["mean"] == pytest.approx(2.0)
    assert f"not to be trusted, full, {SECOND_BASELINE}, lora: {CROWDED}." in text(value)
    assert "ms a step by round" not in text(value)


def test_the_sparsity_table_tells_reason_and_samples_too(capsys: pytest.CaptureFixture[str]) -> None:
    value = measured(0.5)
    level = {"kept": None, "energy": None, "state_bytes": None}
    rows = [{**each, **level, "of_method": each["method"]} for each in value["rows"]]
    print_sparsity(Console(width=160), "title", {**value, "rows": rows})
    told = capsys.readouterr().out
    assert told.count(CROWDED) == 1 and "lora, ms a step by round: 50 50.5 49.5 50 51 49 50 50.5" in told


def test_one_that_changes_on_its_own_is_invalid_alone() -> None:
    """A leak, say, that makes each round dearer; the machine is not to blame."""
    value = measured(0.0, lora=[ms * (1 + at / 5) for at, ms in enumerate(STEADY)])
    lora = row(value, "lora")
    assert lora["status"] == "invalid" and lora["reason"].startswith("its time against full changed by 2.")
    assert row(value, "full")["status"] == value["aa"]["status"] == "ok"
    assert text(value).count("ms a step by round") == text(value).count("lora, ms a step by round: 100 121.2 ") == 1


def test_an_aa_pair_beyond_its_bound() -> None:
    value = measured(0.0, twin=[1.4 * ms + at % 2 for at, ms in enumerate(STEADY)])
    assert row(value, "lora")["reason"].startswith("the A/A pair differs by 0.71x")
    assert value["aa"]["mean"] == pytest.approx(0.71, abs=0.01), "the evidence stays"


def test_records_from_before_the_machine_was_watched_are_read() -> None:
    old = measured(0.0)
    del old["machine"], old["aa"]["detectable_ratio"]
    assert "A/A: full against itself 1.00x" in text(old)
    value = result([contestant("full", FULL), contestant(SECOND_BASELINE, FULL)], peaks(), {}, None)
    assert row(value, "full")["status"] == "ok" and value["machine"]["reasons"] == []
