"""kill -9 of a run in two processes, in the middle of an epoch: the same command goes on, loses and doubles nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from unittest.mock import patch

import psutil  # type: ignore[import-untyped]
import pytest
from transformers import Trainer
from transformers.trainer_callback import TrainerState

from bench.record import Record
from bench.store import Store
from eval.cell import Cell
from eval.finetune import finetune
from tests.eval.launching import begun, launched
from tests.gloo import WORLD, in_two_processes

# 60 examples in batches of 8 are 8 updates an epoch; the first checkpoint, after 28, is not at the end of one.
STEPS = 155


@pytest.fixture
def words(tiny_encoder: Path, tiny_glue: Path) -> Callable[[Path, str], list[str]]:
    """words(out, method): one run with dropout, whose draws are each process's own."""

    def make(out: Path, method: str) -> list[str]:
        shape = ["--model", tiny_encoder, "--random-weights", "--data-dir", tiny_glue, "--task", "stsb", "--seeds", 1]
        short = ["--steps", STEPS, "--batch-size", 8, "--max-length", 16, "--dropout", 0.1]
        more = ["--calibration-steps", 2, "--kept", 0.05, "--lr", 1e-3, "--device", "cpu"]
        return [str(word) for word in (*shape, *short, *more, "--methods", method, "--out", out, "--quiet", "--json")]

    return make


def record_in(out: Path) -> Record:
    """Its only record; nothing unfinished beside it."""
    (found,), damaged = Store(out).read_all("glue")
    assert not damaged and not list((out / "unfinished").iterdir())
    return found


def checkpoints(out: Path) -> list[Path]:
    return list(out.glob("unfinished/*/checkpoint-*/trainer_state.json"))


def member(launcher: Popen[str], victim: str) -> psutil.Process:
    """The launcher itself, or one of the processes that it has started."""
    process = psutil.Process(launcher.pid)
    if victim == "launcher":
        return process
    (found,) = [child for child in process.children() if child.environ().get("RANK") == victim]
    return found


@contextmanager
def ended(processes: list[psutil.Process]) -> Iterator[None]:
    """However it goes, none of them outlives the test."""
    try:
        yield
    finally:
        for process in processes:
            if process.is_running():
                process.kill()


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "method"), [("launcher", "sparsegrad-planned"), ("0", "full")])
def test_a_killed_run_goes_on_to_the_same_end(
    words: Callable[[Path, str], list[str]], tmp_path: Path, victim: str, method: str
) -> None:
    """The launcher dies, or the process that leads; the figures are those of a run left alone."""
    argv, out = words(tmp_path / "out", method), tmp_path / "out"
    family: list[psutil.Process] = []
    with ended(family), begun("accelerate", "eval.glue", argv) as launcher:
        deadline = time.monotonic() + 200
        while not checkpoints(out):
            assert time.monotonic() < deadline and launcher.poll() is None
            time.sleep(0.02)
        family += psutil.Process(launcher.pid).children(recursive=True)
        member(launcher, victim).send_signal(signal.SIGKILL)
        assert not Store(out).read_all("glue")[0]
        again = launched("accelerate", "eval.glue", argv)
        assert again.returncode == 0, again.stderr
        assert not psutil.wait_procs(family, timeout=60)[1]
        launcher.communicate(timeout=60)
        assert launcher.returncode != 0
    alone = launched("accelerate", "eval.glue", words(tmp_path / "alone", method))
    assert alone.returncode == 0, alone.stderr
    resumed, wanted = record_in(out), record_in(tmp_path / "alone")
    assert resumed.key == wanted.key and resumed.result["processes"] == 2
    for name in ("steps", "losses", "splits"):
        assert resumed.result[name] == wanted.result[name]


def _train(rank: int, cell: Cell, folder: Path) -> None:
    """A process of two; the second is a second late with its random numbers. Fails where the first does not wait."""
    place = {"RANK": rank, "WORLD_SIZE": WORLD, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0}
    os.environ.update({name: str(value) for name, value in place.items()})
    save, tell = Trainer._save_rng_state, TrainerState.save_to_json

    def late(trainer: Trainer, output_dir: str) -> None:
        time.sleep(rank)
        save(trainer, output_dir)

    def last(state: TrainerState, path: str) -> None:
        assert (Path(path).parent / "rng_state_1.pth").is_file()
        tell(state, path)

    with patch.object(Trainer, "_save_rng_state", late), patch.object(TrainerState, "save_to_json", last):
        finetune(cell, folder, None, 1)


@pytest.mark.slow
def test_a_checkpoint_counts_once_every_process_has_saved_its_own(cell: Callable[..., Cell], tmp_path: Path) -> None:
    """Killed before, it would be gone on from with other draws of dropout."""
    in_two_processes(_train, tmp_path / "meeting", cell(steps=2), tmp_path / "run")
