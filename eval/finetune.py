"""Fine-tune one cell and score it; the only place where eval trains an encoder."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.batches import shuffled
from bench.hub import quiet
from bench.request import DTYPES
from bench.tasks import TASKS, Example
from bench.tokenize import Tokenizer
from bench.train import LossNotFinite
from eval.cell import Cell
from eval.metrics import headline, score
from eval.splits import Collator, Row, rows_of
from eval.watch import EVALUATIONS, Watch
from sparsegrad import Bases, calibrate
from sparsegrad.methods import Prepared

__all__ = ["calibrate_cell", "finetune"]

_EVALUATION_BATCH = 64
# Checkpoints of a run that evaluates only at its end: what a kill can cost is a fifth of it.
_CHECKPOINTS = 5


def finetune(cell: Cell, folder: Path, bases: Path | None, threads: int, watch: Watch | None = None) -> dict[str, Any]:
    """Train the cell, or go on from its last checkpoint in `folder`; returns the record's result.

    Arguments:
        bases: file of the method's bases, for a method that needs some.
        threads: of torch's operators.
        watch: the study that may end the run before its end.
    Raises LossNotFinite, and whatever the method or the model raise.
    """
    device = _settle(cell, threads)
    source = cell.subject.source()
    words = cell.subject.words(source)
    splits = cell.subject.splits()
    stops_early = cell.protocol.patience is not None
    whole = cell.scored_on == "reported" and not stops_early
    train = (*splits.train, *splits.held_out) if whole else splits.train
    model = source.build().to(device=device, dtype=DTYPES[cell.dtype])
    torch.manual_seed(cell.subject.seed)
    started = time.perf_counter()
    prepared = cell.chosen_method().prepare(model, cell.settings(), None if bases is None else Bases.load(bases))
    convert_s = time.perf_counter() - started

    def rows(examples: Sequence[Example]) -> list[Row]:
        return rows_of(examples, words, max_length=cell.protocol.max_length)

    with quiet():
        trainer = _trainer(cell, prepared, words, folder, rows(train), rows(splits.held_out), watched=watch is not None)
        report = None if watch is None else watch.callback()
        if report is not None:
            trainer.add_callback(report)
        from eval.trainer import latest_checkpoint

        trainer.train(resume_from_checkpoint=latest_checkpoint(folder))
        started = time.perf_counter()
        targets = splits.reported if cell.scored_on == "reported" else {"held out": splits.held_out}
        scored = {name: _scored(cell, trainer, part, rows(part)) for name, part in targets.items()}
        evaluate_s = time.perf_counter() - started
    return {
        "splits": scored,
        **_told(trainer),
        "pruned_at": trainer.state.global_step if report is not None and report.pruned else None,
        "train_examples": len(train),
        "trainable_parameters": prepared.trainable_parameters,
        "updated_parameters": prepared.updated_parameters,
        "adapter_bytes": prepared.adapter_bytes,
        "convert_s": convert_s,
        "evaluate_s": evaluate_s,
        "threads": threads,
    }


def calibrate_cell(cell: Cell, path: Path, threads: int) -> dict[str, Any]:
    """Write the bases that the cell's method asks for to `path`, from examples that are not held out."""
    device = _settle(cell, threads)
    source = cell.subject.source()
    words = cell.subject.words(source)
    examples = cell.subject.splits().train
    protocol = cell.protocol
    generator = torch.Generator().manual_seed(cell.subject.seed)
    order = shuffled(len(examples), cell.calibration_steps * protocol.batch_size, generator=generator)
    rows = rows_of(examples, words, max_length=protocol.max_length)
    collate, size = _collator(cell, words), protocol.batch_size
    batches = [collate([rows[i] for i in order[at : at + size]]) for at in range(0, len(order), size)]
    model = source.build().to(device=device, dtype=DTYPES[cell.dtype])
    options = cell.chosen_method().calibration(cell.settings())
    assert options is not None, f"{cell.method} wants no bases"
    options |= {"model_name": source.name, "data_name": cell.subject.task}
    started = time.perf_counter()
    made = calibrate(model, batches, cell.calibration_steps, **options)
    seconds = time.perf_counter() - started
    made.save(path)
    return {"calibration_s": seconds, "steps": cell.calibration_steps, "threads": threads}


def _settle(cell: Cell, threads: int) -> torch.device:
    """Take a share of the cores, and see no GPU but one: the Trainer would spread each batch over all it sees."""
    torch.set_num_threads(threads)
    device = torch.device(cell.device)
    if device.type == "cpu":
        return device
    at = device.index or 0
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = seen.split(",")[at] if seen else str(at)
    return torch.device("cuda")


def _collator(cell: Cell, words: Tokenizer) -> Collator:
    return Collator(pad_id=words.pad_id, padding=cell.protocol.padding, max_length=cell.protocol.max_length)


def _trainer(
    cell: Cell,
    prepared: Prepared,
    words: Tokenizer,
    folder: Path,
    train: list[Row],
    held_out: list[Row],
    *,
    watched: bool,
) -> Any:
    from transformers import EarlyStoppingCallback, PrinterCallback

    from eval.ledger import Ledger
    from eval.trainer import SeededSampler, TaskTrainer

    protocol = cell.protocol
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
        data_collator=_collator(cell, words),
        optimizers=(prepared.optimizer, None),
        callbacks=callbacks,
        compute_metrics=lambda told: {"headline": _headline(cell, told.predictions, told.label_ids)},
        sampler=sampler,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(cell: Cell, folder: Path, examples: int, *, watched: bool) -> Any:
    """The Trainer's settings. Evaluating to stop early, it saves where it evaluates, as loading the best one asks."""
    from transformers import TrainingArguments

    protocol = cell.protocol
    total = protocol.total_steps(examples)
    early = protocol.patience is not None
    per_epoch = protocol.steps_per_epoch(examples)
    every = max(1, total // (EVALUATIONS if watched else _CHECKPOINTS))
    if early:
        every = -(-per_epoch // protocol.evaluations_per_epoch)
    return TrainingArguments(
        output_dir=str(folder),
        seed=cell.subject.seed % 2**32,
        max_steps=-1 if protocol.steps is None else protocol.steps,
        num_train_epochs=protocol.epochs or 1,
        per_device_train_batch_size=protocol.batch_size // protocol.accumulate,
        gradient_accumulation_steps=protocol.accumulate,
        per_device_eval_batch_size=_EVALUATION_BATCH,
        learning_rate=cell.lr,
        lr_scheduler_type="linear",
        warmup_steps=round(protocol.warmup_share * total),
        max_grad_norm=protocol.max_grad_norm,
        eval_strategy="steps" if early or watched else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=early,
        metric_for_best_model="headline",
        greater_is_better=True,
        restore_callback_states_from_checkpoint=True,
        logging_steps=max(1, total // 20),
        label_names=["labels"],
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        report_to="none",
        disable_tqdm=True,
        use_cpu=torch.device(cell.device).type == "cpu",
    )


def _predicted(task: str, logits: np.ndarray) -> np.ndarray:
    """A class, or a score, an item; LossNotFinite where the model gives no numbers."""
    if not np.isfinite(logits).all():
        raise LossNotFinite("the model predicts no numbers: lower --lr, or use --dtype fp32")
    return logits.reshape(len(logits)).astype(np.float64) if TASKS[task].regression else logits.argmax(axis=1)


def _headline(cell: Cell, logits: np.ndarray, labels: np.ndarray) -> float:
    return headline(cell.subject.task, labels, _predicted(cell.subject.task, logits))


def _scored(cell: Cell, trainer: Any, examples: Sequence[Example], rows: list[Row]) -> dict[str, Any]:
    """Every item's prediction beside its label and index, and the metrics; longest first, for less padding."""
    task = cell.subject.task
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]), reverse=True)
    told = trainer.predict([rows[i] for i in order])
    predictions = np.empty(len(rows), dtype=np.float64 if TASKS[task].regression else np.int64)
    predictions[order] = _predicted(task, told.predictions)
    labels = np.array([example.label for example in examples])
    return {
        "idx": [example.idx for example in examples],
        "labels": labels.tolist(),
        "predictions": predictions.tolist(),
        "scores": score(task, labels, predictions),
        "headline": headline(task, labels, predictions),
        "loss": told.metrics["test_loss"],
    }


def _told(trainer: Any) -> dict[str, Any]:
    """How training went: its length, its curve, and what it cost."""
    from eval.ledger import Ledger

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
        "peak": ledger.peak,
    }
