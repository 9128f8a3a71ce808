"""A grid of the tiny encoder, and commands in processes that can be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def words(tiny_encoder: Path, tiny_glue: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """words(...): a command line of short cells, with more words after it."""

    def make(*more: object, task: str = "stsb", methods: tuple[str, ...] = ("full",), steps: int = 6) -> list[str]:
        shape = [
            "--model",
            tiny_encoder,
            "--random-weights",
            "--data-dir",
            tiny_glue,
            "--task",
            task,
            "--device",
            "cpu",
        ]
        short = ["--steps", steps, "--batch-size", 8, "--max-length", 16, "--calibration-steps", 2, "--kept", 0.05]
        rest = ["--methods", *methods, "--seeds", 2, "--lr", 1e-2, "--out", tmp_path / "out", "--quiet"]
        return [str(word) for word in (*shape, *short, *rest, *more)]

    return make


@pytest.fixture
def start() -> Callable[[list[str]], subprocess.Popen[str]]:
    """start(argv): the command in a process of its own."""

    def begin(argv: list[str]) -> subprocess.Popen[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-m", "eval.grid", *argv]
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return begin
