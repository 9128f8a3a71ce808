"""kill -9 of a grid that runs on this machine: the same command goes on, loses no cell and runs none twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from bench.store import Store
from tests.eval.grid.processes import LONG, checkpoints, ended, finished, until


def results(folder: Path) -> dict[str, list[Any]]:
    """Key -> what the run came to."""
    records, _ = Store(folder).read_all("glue")
    return {record.key: [record.result[name] for name in ("steps", "losses", "splits")] for record in records}


@pytest.mark.slow
def test_a_killed_driver_costs_no_cell(
    words: Callable[..., list[str]], start: Callable[[list[str]], Popen[str]], tmp_path: Path
) -> None:
    """One cell is done and the next at work: what was started ends with the command, and the rest comes to the same."""
    argv, out = words("--json", "--dropout", 0.1, steps=LONG), tmp_path / "out"
    driver = start(argv)
    with ended(driver):
        until(lambda: bool(results(out)) and bool(checkpoints(out)))
        below = psutil.Process(driver.pid).children(recursive=True)
        driver.kill()
        assert below and not psutil.wait_procs(below, timeout=60)[1]
    assert len(results(out)) == 1
    again = start(argv)
    _, err = again.communicate(timeout=280)
    assert again.returncode == 0, err
    finished(out, 2)
    alone = start([*argv, "--out", str(tmp_path / "alone")])
    _, err = alone.communicate(timeout=280)
    assert alone.returncode == 0, err
    assert results(out) == results(tmp_path / "alone")
