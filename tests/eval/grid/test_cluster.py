"""Cells as Ray tasks: a worker or a driver that is killed costs nothing but time."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import psutil  # type: ignore[import-untyped]
import pytest

from bench.errors import BadRequest
from eval.grid.__main__ import main
from eval.grid.cluster import Needs
from tests.eval.grid.processes import LONG, checkpoints, ended, finished, until

Words = Callable[..., list[str]]
Start = Callable[[list[str]], Popen[str]]


def test_without_ray_it_is_one_line(words: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadRequest, match=r"Ray is not installed; pip install 'sparsegrad\[scale\]'"):
        main(words("--ray", "local"))


@pytest.mark.parametrize(
    ("given", "said"),
    [({"cpus": 0}, "--cpus 0"), ({"gpus": -1.0}, "--gpus -1"), ({"memory_bytes": 0}, "--memory-gib")],
)
def test_needs_below_what_is_possible_are_refused(given: dict[str, int], said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        Needs(**{"cpus": 1, "gpus": 0.0, "memory_bytes": None, "retries": 3, **given})  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--memory-gib", 1_000_000), r"asks for 1e\+06 GiB of memory, no machine .* with --memory-gib"),
        (("--gpus", 1000), r"asks for 1e\+03 GPUs, no machine offers Ray more than \d+; ask for less with --gpus"),
    ],
)
def test_what_this_machine_never_holds_is_refused_not_waited_for(
    words: Words, start: Start, tmp_path: Path, more: tuple[object, ...], said: str
) -> None:
    pytest.importorskip("ray")
    driver = start(words("--ray", "local", "--workers", 1, "--cpus", 1, *more))
    with ended(driver):
        _, err = driver.communicate(timeout=120)
    *_, line = err.splitlines()  # before it Ray may speak of itself
    assert driver.returncode == 2 and re.search(said, line) and "Traceback" not in err
    assert not (tmp_path / "out" / "glue").exists()


def workers(driver: Popen[str]) -> list[psutil.Process]:
    """Ray's processes that run a cell, which they are named after; each has a process of its own for it."""
    below = psutil.Process(driver.pid).children(recursive=True)
    return [process for process in below if any(word.startswith("ray::stsb") for word in process.cmdline()[:1])]


@pytest.mark.slow
def test_a_killed_worker_costs_no_cell(words: Words, start: Start, tmp_path: Path) -> None:
    """Two workers; one is killed at work (kill -9), another goes on from its checkpoint; the figures are as if not."""
    pytest.importorskip("ray")
    argv = words("--ray", "local", "--workers", 2, "--cpus", 1, "--json", steps=LONG)
    driver = start(argv)
    with ended(driver):
        until(lambda: len(checkpoints(tmp_path / "out")) > 0)
        busy = workers(driver)
        assert busy
        for process in busy:
            process.send_signal(signal.SIGKILL)
        out, err = driver.communicate(timeout=200)
    assert driver.returncode == 0, err
    finished(tmp_path / "out", 2)
    here = words("--out", tmp_path / "here", "--json", steps=LONG)
    told = start(here).communicate(timeout=200)[0]
    scores = [{cell["key"]: cell["score"] for cell in json.loads(text)["cells"]} for text in (out, told)]
    assert scores[0] == scores[1]


@pytest.mark.slow
def test_a_killed_driver_costs_no_cell(words: Words, start: Start, tmp_path: Path) -> None:
    """kill -9 of the command itself: what it started ends, and the same cells are finished later, without Ray too."""
    pytest.importorskip("ray")
    driver = start(words("--ray", "local", "--workers", 2, "--cpus", 1, "--json", steps=LONG))
    with ended(driver):
        until(lambda: len(checkpoints(tmp_path / "out")) > 0)
        below = psutil.Process(driver.pid).children(recursive=True)
        os.kill(driver.pid, signal.SIGKILL)
    # Ray's own agents wait a minute for their server before they give up.
    assert not psutil.wait_procs(below, timeout=120)[1]
    rerun = start(words("--json", "--workers", 2, steps=LONG))
    out, err = rerun.communicate(timeout=200)
    assert rerun.returncode == 0, err
    finished(tmp_path / "out", 2)
    assert len(json.loads(out)["cells"]) == 2
