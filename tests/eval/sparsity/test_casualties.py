"""What befalls a sweep, with real processes: a loss that is no number, a killed worker, a full disk, two commands."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench.record import Status
from bench.store import Store
from eval.sparsity.__main__ import main
from tests.bench.sample import temporaries
from tests.eval.casualties import losing

ROOT = Path(__file__).resolve().parents[3]
KILLED = "the process was killed (signal 9), as a system out of memory does"


@pytest.fixture
def argv(tiny_encoder: Path, tiny_glue: Path, tmp_path: Path) -> list[str]:
    """Two levels beside dense, two seeds each, a few steps."""
    line = f"--model {tiny_encoder} --random-weights --data-dir {tiny_glue} --task sst2 --kept-list 5% 50% --lr 1e-3"
    line += f" --steps 4 --batch-size 8 --max-length 16 --calibration-steps 2 --seeds 2 --quiet --out {tmp_path}/out"
    return [*line.split(), "--json"]


def begin(argv: list[str], **options: Any) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "eval.sparsity", *argv]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=-1, stderr=-1, text=True, **options)


def counts(folder: Path) -> Counter[tuple[str, str]]:
    records, damaged = Store(folder).read_all()
    assert damaged == [] and temporaries(folder) == []
    return Counter((record.kind, str(record.status)) for record in records)


@pytest.mark.slow
def test_a_loss_that_is_no_number(argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*argv, "--lr", "1e20", "--steps", "20"]) == 1
    streams = capsys.readouterr()
    told = json.loads(streams.out)
    assert [row["status"] for row in told["rows"]] == ["error"] * 3 and "6 of 6 runs failed" in streams.err
    reasons = {failure["reason"].split(":")[0] for row in told["rows"] for failure in row["failures"]}
    assert reasons <= {"LossNotFinite", "NonFiniteGradient"}
    assert told["verdicts"][0]["found"] is None and "no level ran beside dense" in told["verdicts"][0]["sentence"]
    assert counts(tmp_path / "out")["sparsity_quality", "error"] == 1


@pytest.mark.slow
def test_a_killed_worker_is_a_row_and_is_tried_again(
    argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run of the level of half the entries kills its own process."""
    with monkeypatch.context() as patched:
        patched.setattr("eval.launched.run_fresh", losing(lambda cell: cell.kept == 0.5))
        assert main(argv) == 1
    told = json.loads(capsys.readouterr().out)
    assert [(row["kept"], row["status"]) for row in told["rows"]] == [("5%", "ok"), ("50%", "oom"), ("dense", "ok")]
    assert {failure["reason"] for failure in told["rows"][1]["failures"]} == {KILLED}
    assert told["verdicts"][0]["missing"] == ["50%"]
    assert main(argv) == 0
    assert all(row["status"] == "ok" for row in json.loads(capsys.readouterr().out)["rows"])
    seen = counts(tmp_path / "out")
    assert seen["glue", "ok"] == 6 and seen["glue", "oom"] == 2 and seen["sparsity_quality", "ok"] == 1


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_rerun_does_what_is_missing(argv: list[str], tmp_path: Path) -> None:
    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))

    process = begin(argv, preexec_fn=full)
    out, err = process.communicate(timeout=280)
    assert process.returncode == 1 and out == ""
    assert err.startswith("eval.sparsity: ") and err.count("\n") == 1 and "File too large" in err
    assert not counts(tmp_path / "out")
    assert main(argv) == 0
    assert {status for _, status in counts(tmp_path / "out")} == {Status.OK}


@pytest.mark.slow
def test_two_commands_at_once_file_one_result(argv: list[str], tmp_path: Path) -> None:
    both = [begin(argv) for _ in range(2)]
    printed = [process.communicate(timeout=280) for process in both]
    assert [(process.returncode, err) for process, (_, err) in zip(both, printed, strict=True)] == [(0, "")] * 2
    first, second = (json.loads(out) for out, _ in printed)
    assert first == second
    assert counts(tmp_path / "out") == {("glue", "ok"): 6, ("glue_calibration", "ok"): 2, ("sparsity_quality", "ok"): 1}
