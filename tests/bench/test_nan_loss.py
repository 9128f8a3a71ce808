"""A rate at which training cannot last: who trains is a row that says so, with no figure; who does not is measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

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
