"""A worker that the system kills (signal 9) is a row with its reason; the others go on, and the rerun does the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.record import Status
from bench.store import Store
from tests.bench import casualties
from tests.bench.small_commands import MAINS, line
from tests.bench.speed_run import files

REASON = "the process was killed (signal 9), as a system out of memory does"
# What is measured in the worker that dies, who dies in it, and the kind and number of records that tell of it.
CASES: dict[str, tuple[str, Callable[..., Any], dict[str, int]]] = {
    "memory": ("bench.cells.measure_peak", casualties.peak_of_lora_is_killed, {"peak": 1}),
    "sparsity": (
        "bench.sparsity.levels.measure_energy",
        casualties.energy_of_50_is_killed,
        {"energy": 1, "sparsity": 1},
    ),
    "crossover": ("bench.crossover.cells.measure_cell", casualties.cell_of_5_is_killed, {"crossover": 1}),
    "gradients": (
        "bench.gradients.run.measure_supports",
        casualties.killed,
        {"gradients_supports": 1, "gradients": 1},
    ),
    "capacity": ("bench.capacity.cells.timed", casualties.steps_of_lora_are_killed, {"capacity": 1}),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", CASES)
def test_a_killed_worker_is_a_row_and_is_tried_again(
    command: str,
    speed_model: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target, casualty, lost = CASES[command]
    argv = line(command, speed_model, tmp_path, "--quiet")
    with monkeypatch.context() as patched:
        patched.setattr(target, casualty)
        assert MAINS[command](argv) == 1
    printed = "".join(capfd.readouterr())
    assert "oom" in printed and REASON in " ".join(printed.split()) and "Traceback" not in printed
    records, damaged = Store(tmp_path).read_all()
    failed = [record for record in records if record.status is not Status.OK]
    assert not damaged and Counter(record.kind for record in failed) == lost
    assert all(record.status is Status.OOM and REASON in str(record.reason) for record in failed)
    before = {name: content for name, content in files(tmp_path).items() if name.endswith(".json")}
    assert MAINS[command](argv) == 0, "tried again"
    records, _ = Store(tmp_path).read_all()
    good = Counter(record.key for record in records if record.status is Status.OK)
    assert set(good.values()) == {1}, "what was measured stays, and is not measured twice"
    assert before.items() <= files(tmp_path).items()
