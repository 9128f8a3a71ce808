"""Fine-tune one cell on conversations, score it, save it; the only place where eval trains a causal model."""

from __future__ import annotations

import hashlib
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainingArguments

from bench.batches import shuffled
from bench.hub import quiet
from bench.request import DTYPES
from eval.assembly import course
from eval.chat.cell import Cell
from eval.chat.loss import Row, TreeLoss, batch_of, by_tree, row_of
from eval.chat.saving import save_model
from eval.chat.trainer import ReplyTrainer
from eval.finetune import settle
from eval.ledger import Ledger
from eval.ranks import agreed, rank
from eval.settings import CHECKPOINTS, rhythm, training_arguments
from eval.trainer import SeededSampler, latest_checkpoint
from sparsegrad import Bases, calibrate, data_parallel
from sparsegrad.average import processes
from sparsegrad.methods import Prepared

__all__ = ["calibrate_cell", "finetune"]


def finetune(cell: Cell, folder: Path, bases: Path | None, threads: int) -> dict[str, Any]:
    """Train the cell, or go on from its last checkpoint in `folder`; returns the record's result.

    A method that trains nothing is scored as it is. Raises LossNotFinite, and whatever the method or the model raise.
    """
    device = settle(cell, threads)
    source = cell.subject.source()
    rendering, parts = cell.subject.rendering(source), cell.subject.parts()
    train, left_out = rendering.rendered(parts.train)
    valid, valid_left_out = rendering.rendered(parts.valid)
    model = source.build().to(device=device, dtype=DTYPES[cell.dtype])
    whole = sum(parameter.numel() for parameter in model.parameters())
    torch.manual_seed(cell.subject.seed)
    started = time.perf_counter()
    prepared = cell.chosen_method().prepare(model, cell.settings(), None if bases is None else Bases.load(bases))
    data_parallel(prepared.model)
    convert_s = time.perf_counter() - started
    told = _trained(cell, prepared, folder, [row_of(text) for text in train])
    started = time.perf_counter()
    size = cell.protocol.batch_size // cell.protocol.accumulate
    losses = by_tree(prepared.model, valid, device, batch_size=size)
    evaluate_s = time.perf_counter() - started
    saved = None
    if cell.save is not None and prepared.optimizer is not None and rank() == 0:
        with quiet():
            saved = save_model(prepared.model, rendering.tokenizer, cell.models / folder.name, cell.save)
    return {
        **_scores(losses),
        **told,
        "train_conversations": len(train),
        "valid_conversations": len(valid),
        "dropped": dict(parts.dropped),
        "left_out_of_train": left_out,
        "left_out_of_valid": valid_left_out,
        "template": rendering.template.name,
        "model_parameters": whole,
        "trainable_parameters": prepared.trainable_parameters,
        "updated_parameters": prepared.updated_parameters,
        "adapter_bytes": prepared.adapter_bytes,
        "saved": saved,
        "convert_s": convert_s,
        "evaluate_s": evaluate_s,
        "threads": threads,
        "processes": processes(),
    }


def calibrate_cell(cell: Cell, path: Path, threads: int) -> dict[str, Any]:
    """Write the bases that the cell's method asks for to `path`, from conversations that are not held out."""
    device = settle(cell, threads)
    source = cell.subject.source()
    rendering = cell.subject.rendering(source)
    train, _ = rendering.rendered(cell.subject.parts().train)
    size = cell.protocol.batch_size
    generator = torch.Generator().manual_seed(cell.subject.seed)
    order = shuffled(len(train), cell.calibration_steps * size, generator=generator)
    batches = [batch_of([row_of(train[i]) for i in order[at : at + size]]) for at in range(0, len(order), size)]
    model = source.build().to(device=device, dtype=DTYPES[cell.dtype])
    options = cell.chosen_method().calibration(cell.settings())
    assert options is not None, f"{cell.method} wants no bases"
    options |= {"model_name": source.name, "data_name": Path(cell.subject.data).name}
    started = time.perf_counter()
    made = calibrate(model, batches, cell.calibration_steps, **options)
    seconds = time.perf_counter() - started
    made.save(path)
    return {"calibration_s": seconds, "steps": cell.calibration_steps, "threads": threads}


def _trained(cell: Cell, prepared: Prepared, folder: Path, rows: list[Row]) -> dict[str, Any]:
    """Train in place; how it went."""
    if prepared.optimizer is None:
        return {"steps": 0, "epochs": 0, "losses": [], "train_s": 0.0, "peak": None}
    protocol = cell.protocol
    sampler = SeededSampler(
        [len(row["input_ids"]) for row in rows],
        batch_size=protocol.batch_size,
        seed=cell.subject.seed,
        group=protocol.padding == "longest",
    )
    with quiet():
        trainer = ReplyTrainer(
            model=prepared.model,
            args=_arguments(cell, folder, len(rows)),
            train_dataset=rows,
            data_collator=batch_of,
            optimizers=(prepared.optimizer, None),
            callbacks=[Ledger()],
            sampler=sampler,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=agreed(partial(latest_checkpoint, folder)))
    told = course(trainer)
    return {name: told[name] for name in told if name not in ("best_step", "held_out_scores")}


def _arguments(cell: Cell, folder: Path, texts: int) -> TrainingArguments:
    beat = rhythm(cell.protocol.total_steps(texts), CHECKPOINTS)
    return training_arguments(
        cell,
        folder,
        texts,
        beat,
        # An update's tokens are counted over all processes.
        average_tokens_across_devices=True,
        ddp_find_unused_parameters=False,
        gradient_checkpointing=cell.gradient_checkpointing,
        # The other kind asks for inputs that require grad, which embeddings that do not train have not.
        gradient_checkpointing_kwargs={"use_reentrant": False} if cell.gradient_checkpointing else None,
        eval_strategy="no",
    )


def _scores(losses: list[TreeLoss]) -> dict[str, Any]:
    """Every conversation tree's figures; a tree is told by a hash, its text is nobody's to publish."""
    return {
        "conversations": [hashlib.sha256(told.tree.encode()).hexdigest()[:12] for told in losses],
        "nll": [told.nll for told in losses],
        "tokens": [told.tokens for told in losses],
        "valid_loss": sum(told.nll / told.tokens for told in losses) / len(losses),
        "valid_loss_by_token": sum(told.nll for told in losses) / sum(told.tokens for told in losses),
    }
