"""A process of one's own, and every way in which it can end."""

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from bench.fresh import failure, run_fresh
from bench.record import Status

ROOT = Path(__file__).resolve().parents[2]

# Functions that every process can import: what runs is given as text to eval and exec.


def gone(pid: int) -> bool:
    """Whether the process ends within five seconds."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_the_value_comes_back() -> None:
    assert run_fresh(math.hypot, 3.0, 4.0).value == 5.0
    outcome = run_fresh(eval, "{'bytes': 1 << 40, 'phases': ['forward', None], 'big': 'x' * 1_000_000}")
    assert outcome.status is Status.OK and outcome.reason is None
    assert outcome.value == {"bytes": 1 << 40, "phases": ["forward", None], "big": "x" * 1_000_000}


def test_nothing_is_no_failure() -> None:
    outcome = run_fresh(eval, "None")
    assert outcome.status is Status.OK and outcome.value is None


def test_each_process_is_another_and_knows_nothing_of_the_last() -> None:
    first = run_fresh(exec, "import builtins; builtins.planted = 1")
    assert first.status is Status.OK
    seen = run_fresh(eval, "(__import__('os').getpid(), hasattr(__import__('builtins'), 'planted'))").value
    other = run_fresh(eval, "__import__('os').getpid()").value
    assert seen[1] is False
    assert len({seen[0], other, os.getpid()}) == 3


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("raise ValueError('first line\\nsecond line')", Status.ERROR, "ValueError: first line"),
        ("raise KeyError", Status.ERROR, "KeyError"),
        ("raise RuntimeError('   ')", Status.ERROR, "RuntimeError"),
        ("raise MemoryError", Status.OOM, "MemoryError"),
        ("import torch; raise torch.OutOfMemoryError('no room')", Status.OOM, "OutOfMemoryError: no room"),
        ("raise RuntimeError('std::bad_alloc')", Status.OOM, "RuntimeError: std::bad_alloc"),
        ("raise RuntimeError('CUDA error: out of memory')", Status.OOM, "RuntimeError: CUDA error: out of memory"),
        ("raise RuntimeError('CUBLAS_STATUS_ALLOC_FAILED')", Status.OOM, "RuntimeError: CUBLAS_STATUS_ALLOC_FAILED"),
        ("raise OSError('Cannot allocate memory')", Status.OOM, "OSError: Cannot allocate memory"),
        ("raise ValueError('words on out of memory')", Status.ERROR, "ValueError: words on out of memory"),
    ],
)
def test_an_exception_is_an_outcome_with_one_line(
    code: str, status: Status, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = run_fresh(exec, code)
    assert (outcome.status, outcome.reason, outcome.value) == (status, reason, None)
    assert capfd.readouterr() == ("", ""), "told by the outcome, not by a traceback"


def test_the_cpu_allocators_refusal_is_out_of_memory() -> None:
    """torch raises a plain RuntimeError there."""
    outcome = run_fresh(eval, "__import__('torch').empty(1 << 60).numel()")
    assert outcome.status is Status.OOM
    assert outcome.reason is not None and "\n" not in outcome.reason and "memory" in outcome.reason


def test_a_kill_is_out_of_memory_as_the_system_deals_with_it() -> None:
    outcome = run_fresh(exec, "import os; os.kill(os.getpid(), 9)")
    assert outcome.status is Status.OOM
    assert outcome.reason is not None and "signal 9" in outcome.reason


@pytest.mark.parametrize("code", ["import sys; sys.exit(3)", "import os; os._exit(3)"])
def test_an_exit_is_an_error_with_its_code(code: str) -> None:
    outcome = run_fresh(exec, code)
    assert outcome.status is Status.ERROR
    assert outcome.reason is not None and "exit code 3" in outcome.reason


def test_another_signal_is_an_error() -> None:
    assert run_fresh(exec, "import os; os.kill(os.getpid(), 15)").status is Status.ERROR


def test_an_answer_that_cannot_travel_is_an_error() -> None:
    assert run_fresh(eval, "lambda: 0").status is Status.ERROR


@pytest.mark.parametrize("end", ["pass", "raise ValueError", "import sys; sys.exit(1)", "os.kill(os.getpid(), 9)"])
def test_no_process_is_left(end: str, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    run_fresh(exec, f"import os, pathlib; pathlib.Path({str(told)!r}).write_text(str(os.getpid()))\n{end}")
    assert gone(int(told.read_text()))


def test_an_interrupted_caller_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while waiting: what would have run for a minute is gone within seconds."""
    told = tmp_path / "pid"

    def interrupted(self: object) -> None:
        while not told.exists() or not told.read_text():
            time.sleep(0.02)
        raise KeyboardInterrupt

    monkeypatch.setattr("multiprocessing.connection.Connection.recv", interrupted)
    code = f"import os, pathlib, time; pathlib.Path({str(told)!r}).write_text(str(os.getpid())); time.sleep(60)"
    monkeypatch.setattr("multiprocessing.process.BaseProcess.join", _impatient)
    with pytest.raises(KeyboardInterrupt):
        run_fresh(exec, code)
    assert gone(int(told.read_text()))


def _impatient(self: object, timeout: float | None = None) -> None:
    """Stands for join: the ten seconds of grace are not the test's to wait."""


def test_failure_tells_memory_from_the_rest() -> None:
    assert failure(torch.OutOfMemoryError("x")).status is Status.OOM
    assert failure(MemoryError()).status is Status.OOM
    assert failure(RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory")).status is Status.OOM
    assert failure(RuntimeError("mat1 and mat2 shapes cannot be multiplied")).status is Status.ERROR


SCRIPT = """
import os, sys, time
from pathlib import Path

from bench.fresh import run_fresh


def work(folder):
    Path(folder, "child").write_text(str(os.getpid()))
    time.sleep(600)


if __name__ == "__main__":
    run_fresh(work, sys.argv[1])
"""


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are read from /proc")
def test_a_killed_parent_leaves_nobody_computing(tmp_path: Path) -> None:
    """kill -9 asks nobody: the child itself has to notice, or it would be measured beside."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    path = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path)], cwd=ROOT, env=path)
    told = tmp_path / "child"
    deadline = time.monotonic() + 60
    while not (told.exists() and told.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    child = int(told.read_text())
    assert alive(child)
    parent.kill()
    parent.wait()
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)


def test_denormals_are_flushed_in_every_thread() -> None:
    """The flag is a thread's own: set before the first parallel operation, the pool's threads inherit it."""
    script = (
        "import numpy, torch; from bench.cli import run; tiny = torch.from_numpy(numpy.full(1 << 20, 1e-40, 'f'))\n"
        "def main(argv):\n"
        "    print(float(((tiny * 1.0).view(torch.int32) == 0).float().mean())); return 0\n"
        "run(main, 'x')\n"
    )
    two_threads = os.environ | {"OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, env=two_threads)
    assert done.stdout.strip() == "1.0", done.stderr
