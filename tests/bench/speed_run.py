"""bench.speed as tests run it: a request that takes a moment, as a process or in this one."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.cli import run
from bench.fresh import Outcome, failure
from bench.record import Status
from bench.speed import PROG, main

ROOT = Path(__file__).resolve().parents[2]
ROUNDS, STEPS, WARMUP = 2, 1, 1
CONFIG = {
    "model_type": "bert",
    "vocab_size": 2000,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
}
LINEARS, KEPT = 4, 5  # 1% of 16 x 32
COLA = "sentence\tlabel\tidx\n" + "".join(
    f"The {'very ' * (i % 4)}small row {i} is {'not ' * (i % 2)}here.\t{i % 2}\t{i}\n" for i in range(12)
)


def words(folder: Path, out: Path, *more: str, rounds: int = ROUNDS) -> list[str]:
    """A request that takes a moment; ``more`` may say a word again."""
    line = (
        f"--random-weights --batch-size 2 --max-length 16 --steps {STEPS} --warmup {WARMUP} --calibration-steps 2 "
        f"--device cpu --rounds {rounds} --drift note"  # the machine that runs the tests may be busy
    )
    return ["--model", str(folder), *line.split(), "--out", str(out), *more]


def start(argv: list[str], **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.speed", *argv]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **options
    )


def files(out: Path) -> dict[str, bytes]:
    """Every file below ``out``, hidden ones too, with its content; locks, which are empty, left out."""
    found = [path for path in sorted(out.rglob("*")) if path.is_file() and path.parent.name != "locks"]
    return {str(path.relative_to(out)): path.read_bytes() for path in found}


def strict(text: str) -> dict[str, Any]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    told: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return told


@dataclass(frozen=True, kw_only=True)
class Ended:
    code: int
    out: str
    err: str


@dataclass(frozen=True, kw_only=True)
class Two:
    """Two processes that were given the same request and folder at the same time: one --json --quiet, one not."""

    out: Path
    json: Ended
    table: Ended


def ended(process: subprocess.Popen[str]) -> Ended:
    out, err = process.communicate(timeout=280)
    return Ended(code=process.returncode, out=out, err=err)


def asked(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of the command, run as __main__ runs it."""
    monkeypatch.setattr(sys, "argv", ["speed.py", *argv])
    with pytest.raises(SystemExit) as end:
        run(main, PROG)
    assert isinstance(end.value.code, int)
    return end.value.code


def run_here(function: Callable[..., Any], *args: Any) -> Outcome:
    """Stands for bench.fresh.run_fresh where the process does not matter."""
    try:
        return Outcome(status=Status.OK, value=function(*args))
    except (RuntimeError, MemoryError) as error:
        return failure(error)
