"""Each command of the suite beside bench.speed, asked for what takes a moment, in this process or in one of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bench.capacity.__main__
import bench.crossover.__main__
import bench.gradients.__main__
import bench.memory.__main__
import bench.sparsity.__main__
from tests.bench.speed_run import ROOT, Ended, words

# The machine that runs the tests may be busy.
_MODEL = "--random-weights --device cpu --max-length 16"
_LINES = {
    "memory": f"{_MODEL} --batch-size 2 --calibration-steps 1 --methods lora sparsegrad-sd",
    "capacity": f"{_MODEL} --methods lora --budget 600KiB --time --drift note",
    "crossover": "--device cpu --shapes 16x8 --tokens 128 --active 0.25 1 --kept-list 5 dense --rounds 2 --drift note",
    "gradients": f"{_MODEL} --batch-size 2 --calibration-steps 2 --steps 2 --read-every 2 --kept 5",
}
MAINS: dict[str, Callable[[Sequence[str]], int]] = {
    "memory": bench.memory.__main__.main,
    "capacity": bench.capacity.__main__.main,
    "sparsity": bench.sparsity.__main__.main,
    "crossover": bench.crossover.__main__.main,
    "gradients": bench.gradients.__main__.main,
}


def line(command: str, model: Path, out: Path, *more: str) -> list[str]:
    """Its words; ``model``: a folder with the shape of one. ``more`` may say a word again."""
    if command == "sparsity":
        return words(model, out, "--kept-list", "1%", "50", *more)
    of_model = [] if command == "crossover" else ["--model", str(model)]
    return [*of_model, *_LINES[command].split(), "--out", str(out), *more]


def begin(command: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[str]:
    """The command as a process of its own."""
    called = [sys.executable, "-m", f"bench.{command}", *argv]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(called, cwd=ROOT, **pipes, **options)


def end(process: subprocess.Popen[str]) -> Ended:
    """How it ended."""
    out, err = process.communicate(timeout=280)
    return Ended(code=process.returncode, out=out, err=err)
