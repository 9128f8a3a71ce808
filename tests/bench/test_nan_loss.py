"""A rate at which training cannot last: who trains is a row that says so, with no figure; who does not is measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench import casualties
from tests.bench.small_commands import MAINS, line

ASTRAY = ("--lr", "1e35")
# Of a dense method in its loss, of a sparse one already in the gradient it would choose from.
WORDS = ("LossNotFinite: the loss is ", "NonFiniteGradient: NaN or infinity in the gradient of ")


@pytest.fixture
def told(speed_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    def run(command: str) -> Any:
        assert MAINS[command](line(command, speed_model, tmp_path, "--quiet", "--json", *ASTRAY)) == 1
        return json.loads(capfd.readouterr().out)

    return run


@pytest.mark.slow
def test_bench_memory(told: Any) -> None:
    rows = told("memory")
    for name in ("full", "lora", "sparsegrad-sd"):
        assert rows[name]["status"] == "error" and rows[name]["reason"].startswith(WORDS)
        assert "peak_bytes" not in rows[name]
    assert rows["frozen"]["status"] == "ok" and rows["frozen"]["peak_bytes"] > 0


@pytest.mark.slow
def test_bench_capacity(told: Any) -> None:
    """The size found is of shapes, and stands; its steps have no speed."""
    rows = told("capacity")
    for name in ("full", "lora"):
        assert rows[name]["status"] == "error" and "LossNotFinite: the loss is " in rows[name]["reason"]
        assert rows[name]["size"] > 0 and rows[name]["steps_per_s"] is None and rows[name]["samples_ms"] == []
    assert rows["frozen"]["status"] == "ok" and rows["frozen"]["steps_per_s"] > 0


@pytest.mark.slow
def test_bench_sparsity(told: Any) -> None:
    rows = {row["method"]: row for row in told("sparsity")["rows"]}
    for name in ("full", "sparsegrad-planned 1%", "sparsegrad-planned 50"):
        assert rows[name]["status"] == "error" and rows[name]["reason"].startswith(WORDS)
        assert rows[name]["step_ms"] is None
    assert rows["frozen"]["status"] == "ok" and rows["frozen"]["step_ms"] > 0


@pytest.mark.slow
def test_bench_crossover(
    speed_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ways of a cell: one in its loss, one in a weight after its last step, which no loss tells any more."""
    argv = line("crossover", speed_model, tmp_path, "--quiet", "--active", "1", "--kept-list", "5")
    with monkeypatch.context() as patched:
        patched.setattr("bench.crossover.cells.measure_cell", casualties.two_ways_go_astray)
        assert MAINS["crossover"]([*argv, "--json"]) == 1
        (cell,) = json.loads(capfd.readouterr().out)["cells"]
        rows = {row["way"]: row for row in cell["ways"]}
        assert rows["sd"]["reason"].startswith("LossNotFinite: the loss is nan")
        assert rows["planned"]["reason"] == "LossNotFinite: a weight is not finite after the steps"
        for name in ("sd", "planned"):
            assert rows.pop(name)["step_ms"] is None and f"{name}: error: LossNotFinite: " in cell["reason"]
        assert all(row["status"] == "ok" and row["step_ms"] > 0 for row in rows.values())
        assert cell["winner"]["way"] in rows and cell["status"] == "error"
        assert MAINS["crossover"](argv) == 1
        assert "16x8, 100%, 3.91%: error: sd: error: LossNotFinite" in capfd.readouterr().out
    assert MAINS["crossover"](argv) == 0, "tried again"
