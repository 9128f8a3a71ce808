"""The Trainer's settings that every run has, and how often it logs and saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from eval.cell import Run
from eval.ranks import each

__all__ = ["CHECKPOINTS", "rhythm", "training_arguments"]

# Of a run that evaluates only at its end: what a kill can cost is a fifth of it.
CHECKPOINTS = 5
# Points of the curve of losses, each the mean since the last.
_POINTS = 20


def rhythm(total: int, parts: int) -> tuple[int, int]:
    """After how many updates the mean loss is logged, and after how many a checkpoint is made, `parts` in a run.

    At every checkpoint a mean is logged too: the Trainer forgets the losses since the last, so that a resumed run would
    log another mean than one left alone.
    """
    logged = max(1, total // _POINTS)
    return logged, max(1, total // parts // logged) * logged


def training_arguments(run: Run, folder: Path, examples: int, beat: tuple[int, int], **own: Any) -> TrainingArguments:
    """Of a run on so many examples, logged and saved at the ``beat`` of `rhythm`; `own`: what one kind of run has
    beside them."""
    protocol = run.protocol
    logged, every = beat
    return TrainingArguments(
        output_dir=str(folder),
        seed=run.subject.seed % 2**32,
        max_steps=-1 if protocol.steps is None else protocol.steps,
        num_train_epochs=protocol.epochs or 1,
        per_device_train_batch_size=each(protocol.batch_size // protocol.accumulate),
        gradient_accumulation_steps=protocol.accumulate,
        learning_rate=run.lr,
        lr_scheduler_type="linear",
        warmup_steps=round(protocol.warmup_share * protocol.total_steps(examples)),
        max_grad_norm=protocol.max_grad_norm,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        restore_callback_states_from_checkpoint=True,
        logging_steps=logged,
        label_names=["labels"],
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        report_to="none",
        disable_tqdm=True,
        use_cpu=torch.device(run.device).type == "cpu",
        **own,
    )
