"""Every method trains, is saved, comes back with the same loss, and goes on after a kill as if nothing had happened."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from bench.train import LossNotFinite
from eval.chat.cell import Cell
from eval.chat.finetune import finetune
from eval.chat.loss import by_tree
from eval.mtbench.decoding import Wish
from eval.mtbench.speaker import Speaker
from eval.trainer import latest_checkpoint
from sparsegrad.methods import METHODS

TRAINING = [name for name, method in METHODS.items() if method.trains]
DEVICE = torch.device("cpu")
# Enough for the least of the methods to move the loss by far more than what saving may round away.
LEARNING: dict[str, Any] = {"steps": 12, "lr": 2e-2}


def bases_of(cell: Cell, folder: Path) -> Path | None:
    if cell.calibration_config() is None:
        return None
    path = folder / "bases.safetensors"
    cell.calibrate(path, 1)
    return path


def trained(cell: Cell, folder: Path) -> dict[str, Any]:
    return finetune(cell, folder / "run", bases_of(cell, folder), 1)


def loss_of(speaker: Speaker, cell: Cell) -> list[float]:
    """Of a model as eval.mtbench loads it, on the conversations that are held out."""
    rendering = cell.subject.rendering(cell.subject.source())
    valid, _ = rendering.rendered(cell.subject.parts().valid)
    model: Any = speaker._decoder._model
    return [told.nll for told in by_tree(model, valid, DEVICE, batch_size=3)]


@pytest.mark.parametrize("form", ["adapter", "merged"])
@pytest.mark.parametrize("method", TRAINING)
def test_saved_and_loaded_by_mtbench_it_has_the_same_loss(
    cell: Callable[..., Cell], tmp_path: Path, method: str, form: str
) -> None:
    made = cell(method=method, save=form, **LEARNING)
    told = trained(made, tmp_path)
    before = trained(cell(method="frozen"), tmp_path / "frozen")
    assert told["valid_loss"] < before["valid_loss"] - 0.01
    saved = told["saved"]
    assert saved["form"] == ("merged" if method == "full" else form) and saved["bytes"] > 0
    folder = made.models / saved["folder"]
    if saved["form"] == "merged":
        speaker = Speaker.load(str(folder))
    else:
        speaker = Speaker.load(made.subject.model, adapter=folder)
    assert loss_of(speaker, made) == pytest.approx(told["nll"], rel=2e-5)
    (said,) = speaker.say([Wish(prompt="Go on.", temperature=0, seed=0, max_new_tokens=4)])
    assert said.ending != "failed"
    assert [path.name for path in made.models.iterdir()] == [saved["folder"]]


@pytest.mark.parametrize("method", ["full", "lora", "meprop", "sparsegrad-planned", "sparsegrad-compact"])
def test_bf16_with_checkpointing_and_parts(cell: Callable[..., Cell], tmp_path: Path, method: str) -> None:
    """All at once, as a large model is trained; what is saved in bf16 comes back as it was."""
    made = cell(method=method, dtype="bf16", gradient_checkpointing=True, accumulate=2, save="merged", **LEARNING)
    told = trained(made, tmp_path)
    before = trained(cell(method="frozen", dtype="bf16"), tmp_path / "frozen")
    assert told["valid_loss"] < before["valid_loss"] - 0.01
    speaker = Speaker.load(str(made.models / told["saved"]["folder"]), dtype="bf16")
    assert loss_of(speaker, made) == pytest.approx(told["nll"], rel=2e-2)


class _Die(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **words: Any) -> None:
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def die_after(cell: Cell, folder: Path, bases: Path | None, step: int) -> None:
    from eval.chat import finetune as module
    from eval.chat.trainer import ReplyTrainer

    class Dying(ReplyTrainer):
        def __init__(self, *args: Any, **words: Any) -> None:
            super().__init__(*args, **words)
            self.add_callback(_Die(step))

    vars(module)["ReplyTrainer"] = Dying
    finetune(cell, folder, bases, 1)


@pytest.mark.parametrize("method", ["lora", "sparsegrad-planned"])
def test_a_killed_run_goes_on_to_the_same_end(cell: Callable[..., Cell], tmp_path: Path, method: str) -> None:
    """kill -9 in the second epoch, after the checkpoint of the step before."""
    made = cell(method=method, steps=10, accumulate=2)
    bases = bases_of(made, tmp_path)
    alone = finetune(made, tmp_path / "alone", bases, 1)
    process = multiprocessing.get_context("fork").Process(target=die_after, args=(made, tmp_path / "run", bases, 9))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert str(latest_checkpoint(tmp_path / "run")).endswith("checkpoint-8")
    resumed = finetune(made, tmp_path / "run", bases, 1)
    assert resumed["losses"] == alone["losses"]
    assert resumed["nll"] == pytest.approx(alone["nll"], rel=1e-6)


def test_a_run_that_goes_astray_says_so(cell: Callable[..., Cell], tmp_path: Path) -> None:
    with pytest.raises(LossNotFinite):
        trained(cell(lr=1e30), tmp_path)


def test_each_seed_draws_its_own_order_and_the_same_seed_the_same(cell: Callable[..., Cell], tmp_path: Path) -> None:
    told = {seed: trained(cell(seed=seed), tmp_path / str(seed)) for seed in (0, 1)}
    assert told[0]["nll"] != told[1]["nll"] and told[0]["conversations"] == told[1]["conversations"]
    assert trained(cell(seed=0), tmp_path / "again")["nll"] == told[0]["nll"]


def test_only_the_chosen_linears_train(cell: Callable[..., Cell], tmp_path: Path) -> None:
    """Up and down projections of blocks 0 and 2: two of 32 x 64 each."""
    told = trained(cell(save="merged"), tmp_path)
    assert told["trainable_parameters"] == 4 * 32 * 64
    assert told["peak"]["peak_bytes"] > 0 and told["train_s"] > 0
