"""A cell's Trainer, put together: settings, order of the examples, what watches it; and what it tells in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import EarlyStoppingCallback, PrinterCallback, TrainingArguments

from bench.tokenize import Tokenizer
from eval.cell import Cell
from eval.ledger import Ledger
from eval.metrics import headline
from eval.scoring import predicted
from eval.settings import CHECKPOINTS, rhythm, training_arguments
from eval.splits import Collator, Row
from eval.trainer import SeededSampler, TaskTrainer
from eval.watch import EVALUATIONS
from sparsegrad.methods import Prepared

__all__ = ["assembled", "course"]

_EVALUATION_BATCH = 64


def assembled(
    cell: Cell,
    prepared: Prepared,
    words: Tokenizer,
    folder: Path,
    train: list[Row],
    held_out: list[Row],
    *,
    watched: bool,
) -> TaskTrainer:
    """The Trainer of a run. `watched`: it evaluates on the slice that is held out even where it does not stop early."""
    protocol, task = cell.protocol, cell.subject.task
    lengths = [len(row["input_ids"]) for row in train]
    grouped = protocol.padding == "longest"
    sampler = SeededSampler(lengths, batch_size=protocol.batch_size, seed=cell.subject.seed, group=grouped)
    callbacks: list[Any] = [Ledger()]
    if protocol.patience is not None:
        callbacks.append(EarlyStoppingCallback(early_stopping_patience=protocol.patience))
    trainer = TaskTrainer(
        model=prepared.model,
        args=_arguments(cell, folder, len(train), watched=watched),
        train_dataset=train,
        eval_dataset=held_out,
        data_collator=Collator.of(protocol, words),
        optimizers=(prepared.optimizer, None),
        callbacks=callbacks,
        compute_metrics=lambda told: {"headline": headline(task, told.label_ids, predicted(task, told.predictions))},
        sampler=sampler,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(cell: Cell, folder: Path, examples: int, *, watched: bool) -> TrainingArguments:
    """The Trainer's settings. Evaluating to stop early, it saves where it evaluates, as loading the best one asks."""
    protocol = cell.protocol
    early = protocol.patience is not None
    beat = rhythm(protocol.total_steps(examples), EVALUATIONS if watched else CHECKPOINTS)
    if early:
        every = -(-protocol.steps_per_epoch(examples) // protocol.evaluations_per_epoch)
        beat = every, every
    return training_arguments(
        cell,
        folder,
        examples,
        beat,
        # Counted in tokens, the Trainer would make each process's loss a multiple of it.
        average_tokens_across_devices=False,
        # Of MLP linears and head none is left out of a forward; of a whole model some may be.
        ddp_find_unused_parameters=cell.trainable == "all",
        per_device_eval_batch_size=_EVALUATION_BATCH,
        eval_strategy="steps" if early or watched else "no",
        eval_steps=beat[1],
        load_best_model_at_end=early,
        metric_for_best_model="headline",
        greater_is_better=True,
    )


def course(trainer: TaskTrainer) -> dict[str, Any]:
    """How training went: its length, its curve, and what it cost."""
    state = trainer.state
    ledger = next(callback for callback in trainer.callback_handler.callbacks if isinstance(callback, Ledger))
    return {
        "steps": state.global_step,
        "epochs": state.epoch,
        "best_step": state.best_global_step,
        "losses": [[entry["step"], entry["loss"]] for entry in state.log_history if "loss" in entry],
        "held_out_scores": [
            [entry["step"], entry["eval_headline"]] for entry in state.log_history if "eval_headline" in entry
        ],
        "train_s": ledger.train_s,
        "step_s": ledger.step_s,
        "peak": ledger.peak,
    }
