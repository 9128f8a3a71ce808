"""A run of bench.speed that ends before its end: killed, or interrupted at each stage; the next goes on."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.record import Status
from bench.speed import main
from bench.store import Store
from tests.bench.speed_run import ended, files, start, strict, words


def wait_for_peaks(process: subprocess.Popen[str], out: Path, count: int) -> None:
    until = time.monotonic() + 90
    while len(list(out.glob("peak/*.json"))) < count:
        assert process.poll() is None and time.monotonic() < until, "the run ended before it could be ended"
        time.sleep(0.01)


@pytest.fixture
def cleared() -> Iterator[Callable[[subprocess.Popen[str]], subprocess.Popen[str]]]:
    """Processes that do not outlive the test."""
    held: list[subprocess.Popen[str]] = []

    def hold(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
        held.append(process)
        return process

    yield hold
    for process in held:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_killed_run_leaves_no_half_record_and_the_next_goes_on(
    speed_model: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    cleared: Callable[[subprocess.Popen[str]], subprocess.Popen[str]],
) -> None:
    out = tmp_path / "out"
    argv = words(speed_model, out, "--methods", "lora", "sparsegrad-sd", "sparsegrad-compact")
    cells = 2 + 5 + 1  # two calibrations, a peak for each of these, full and frozen, the speed
    process = cleared(start(argv))
    wait_for_peaks(process, out, 2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = {name: content for name, content in files(out).items() if name.endswith(".json")}
    records, damaged = Store(out).read_all()
    assert not damaged and 4 <= len(records) == len(before) < cells
    assert main([*argv, "--json", "--quiet"]) == 0
    told = strict(capfd.readouterr().out)
    assert all(row["status"] == "ok" for row in told["rows"])
    after = files(out)
    assert all(after[name] == content for name, content in before.items())
    records, damaged = Store(out).read_all()
    assert not damaged
    assert len(records) == cells, "each cell once: what was done before the kill was not done again"


def test_an_interrupt_in_the_rounds_leaves_an_interrupted_record(
    speed_model: Path, measured: Path, cleared: Callable[[subprocess.Popen[str]], subprocess.Popen[str]]
) -> None:
    """Ctrl-C, as a terminal sends it: to every process of the group."""
    process = cleared(start(words(speed_model, measured, "--fresh", "--methods", "full", rounds=100_000)))
    wait_for_peaks(process, measured, len(list(measured.glob("peak/*.json"))) + 2)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    done = ended(process)
    assert done.code == 130 and done.out == ""
    assert done.err == "bench.speed: interrupted; the same command goes on where it stopped\n"
    records, damaged = Store(measured).read_all("speed")
    (stopped,) = [record for record in records if record.status is not Status.OK]
    assert stopped.status is Status.INTERRUPTED and stopped.reason and not damaged


def test_an_interrupt_in_the_peaks_is_one_line_and_recorded(
    speed_model: Path, tmp_path: Path, cleared: Callable[[subprocess.Popen[str]], subprocess.Popen[str]]
) -> None:
    out = tmp_path / "out"
    process = cleared(start(words(speed_model, out, "--methods", "lora")))
    wait_for_peaks(process, out, 1)
    os.killpg(process.pid, signal.SIGINT)
    done = ended(process)
    assert done.code == 130 and done.out == ""
    assert done.err == "bench.speed: interrupted; the same command goes on where it stopped\n"
    records, damaged = Store(out).read_all()
    assert not damaged
    assert [record.kind for record in records if record.status is Status.INTERRUPTED] == ["speed"]
