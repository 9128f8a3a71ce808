"""Fine-tune one cell and score it; the only place where eval trains an encoder."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.batches import shuffled
from bench.hub import quiet
from bench.models import ModelSource
from bench.request import DTYPES
from bench.tasks import Example
from bench.tokenize import Tokenizer
from eval.cell import Cell
from eval.forgetting import MaskedText
from eval.job import Job
from eval.ranks import agreed, rank
from eval.scoring import scored
from eval.splits import Collator, Row, rows_of
from eval.watch import Watch
from sparsegrad import Bases, calibrate, data_parallel
from sparsegrad.average import processes

__all__ = ["calibrate_cell", "finetune", "settle"]


def finetune(cell: Cell, folder: Path, bases: Path | None, threads: int, watch: Watch | None = None) -> dict[str, Any]:
    """Train the cell, or go on from its last checkpoint in `folder`; returns the record's result.

    Arguments:
        bases: file of the method's bases, for a method that needs some.
        threads: of torch's operators.
        watch: the study that may end the run before its end.
    Raises LossNotFinite, and whatever the method or the model raise.
    """
    from eval.assembly import assembled, course
    from eval.trainer import latest_checkpoint

    device = settle(cell, threads)
    source = cell.subject.source()
    words = cell.subject.words(source)
    splits = cell.subject.splits()
    whole = cell.scored_on == "reported" and cell.protocol.patience is None
    train = (*splits.train, *splits.held_out) if whole else splits.train
    model = source.build().to(device=device, dtype=DTYPES[cell.dtype])
    before = _recalled(cell, source, words, model)
    torch.manual_seed(cell.subject.seed)
    started = time.perf_counter()
    prepared = cell.chosen_method().prepare(model, cell.settings(), None if bases is None else Bases.load(bases))
    data_parallel(prepared.model)
    convert_s = time.perf_counter() - started

    def rows(examples: Sequence[Example]) -> list[Row]:
        return rows_of(examples, words, max_length=cell.protocol.max_length)

    with quiet():
        trainer = assembled(
            cell, prepared, words, folder, rows(train), rows(splits.held_out), watched=watch is not None
        )
        report = None if watch is None else watch.callback()
        if report is not None:
            trainer.add_callback(report)
        checkpoint = agreed(partial(latest_checkpoint, folder))
        if rank():  # dropout draws anew in each process
            torch.manual_seed(cell.subject.seed + (rank() << 32))
        trainer.train(resume_from_checkpoint=checkpoint)
        started = time.perf_counter()
        targets = splits.reported if cell.scored_on == "reported" else {"held out": splits.held_out}
        told = {name: scored(cell.subject.task, trainer, part, rows(part)) for name, part in targets.items()}
        evaluate_s = time.perf_counter() - started
        after = _recalled(cell, source, words, prepared.model)
    return {
        "splits": told,
        **course(trainer),
        "pruned_at": trainer.state.global_step if report is not None and report.pruned else None,
        "train_examples": len(train),
        "trainable_parameters": prepared.trainable_parameters,
        "updated_parameters": prepared.updated_parameters,
        "adapter_bytes": prepared.adapter_bytes,
        "convert_s": convert_s,
        "evaluate_s": evaluate_s,
        "forgetting": _forgetting(before, after),
        "threads": threads,
        "processes": processes(),
    }


def _recalled(cell: Cell, source: ModelSource, words: Tokenizer, model: nn.Module) -> dict[str, Any] | None:
    """What the pretrained head still makes of other text on the model's body; None where it is not asked.

    The head lives no longer than that: it is no part of the run's peak memory.
    """
    if cell.forgetting is None:
        return None
    texts = cell.forgetting.read(cell.subject.task, cell.subject.data_dir)
    asked = MaskedText(source, words, texts, max_length=cell.protocol.max_length)
    return {"masked": asked.masked, "losses": asked.losses(model)}


def _forgetting(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if before is None or after is None:
        return None
    return {"masked": before["masked"], "before": before["losses"], "after": after["losses"]}


def calibrate_cell(cell: Cell, path: Path, threads: int) -> dict[str, Any]:
    """Write the bases that the cell's method asks for to `path`, from examples that are not held out."""
    device = settle(cell, threads)
    source = cell.subject.source()
    words = cell.subject.words(source)
    examples = cell.subject.splits().train
    protocol = cell.protocol
    generator = torch.Generator().manual_seed(cell.subject.seed)
    order = shuffled(len(examples), cell.calibration_steps * protocol.batch_size, generator=generator)
    rows = rows_of(examples, words, max_length=protocol.max_length)
    collate, size = Collator.of(protocol, words), protocol.batch_size
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


def settle(job: Job, threads: int) -> torch.device:
    """Take a share of the cores, and see no GPU but one: the Trainer would spread each batch over all it sees."""
    torch.set_num_threads(threads)
    device = torch.device(job.device)
    if device.type == "cpu":
        return device
    at = device.index or 0
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = seen.split(",")[at] if seen else str(at)
    return torch.device("cuda")
