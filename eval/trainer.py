"""The Hugging Face Trainer, made repeatable: seeded batches, whole checkpoints, no loss that is not a number."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from transformers import Trainer
from transformers.trainer_pt_utils import get_length_grouped_indices
from transformers.trainer_utils import get_last_checkpoint

from bench.train import finite
from eval.ranks import ShareLoader, Shares, weight
from sparsegrad.average import processes
from sparsegrad.trainer import SparseGradTrainerMixin

__all__ = ["SeededSampler", "TaskTrainer", "latest_checkpoint"]

_WEIGHTS = "state.pt"
_STATE = "trainer_state.json"


class SeededSampler(Sampler[int]):
    """An order that seed and epoch alone decide, so that a resumed run meets the batches it would have met.

    (The Trainer's length-grouped sampler draws from the global generator, which stands elsewhere after a resume.)

    Arguments:
        lengths: in tokens; where `group`, examples of like length follow each other, the longest first.
        batch_size: examples an update.
    """

    def __init__(self, lengths: Sequence[int], *, batch_size: int, seed: int, group: bool) -> None:
        self.lengths = list(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.group = group
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
        if self.group:
            yield from get_length_grouped_indices(self.lengths, self.batch_size, generator=generator)
        else:
            yield from torch.randperm(len(self.lengths), generator=generator).tolist()


class TaskTrainer(SparseGradTrainerMixin, Trainer):
    """Trains whatever `Method.prepare` made, the same way for every method."""

    # A classifier takes **kwargs but averages over its own batch: without this word the Trainer believes the loss to be
    # divided by the examples of the whole update, and accumulated backwards would add up to a multiple of it.
    loss_is_scaled_for_ga = False

    empty_shares = False
    """Whether the collator makes a batch of no examples, one that counts for nothing."""

    def __init__(self, *args: Any, sampler: SeededSampler, **words: Any) -> None:
        super().__init__(*args, **words)
        self._sampler = sampler
        assert self.model is not None
        if processes() > 1 and not _left_to_ddp(self.model):
            # Prepared as if for evaluation it stays unwrapped: DDP refuses a model in which it has nothing to average.
            self.accelerator.prepare_model(self.model, evaluation_mode=True)

    def _get_train_sampler(self, train_dataset: Any = None) -> SeededSampler:
        return self._sampler

    def get_train_dataloader(self) -> DataLoader[Any]:
        """As the Trainer's; of several processes each loads its share of the very same batches."""
        if processes() == 1:
            return super().get_train_dataloader()
        assert self.train_dataset is not None
        size = self.args.per_device_train_batch_size * processes()
        shares = Shares(self._sampler, size, empty=self.empty_shares)
        return ShareLoader(self.train_dataset, batch_sampler=shares, collate_fn=self.data_collator)

    def terms(self, inputs: dict[str, Any]) -> int:
        """How many numbers a batch's loss is the mean of."""
        return len(inputs["labels"])

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **words: Any) -> Any:
        """As the Trainer's; in training, of several processes, weighed by its share of the batch."""
        if processes() == 1 or not model.training:
            return super().compute_loss(model, inputs, *args, **words)
        share = weight(self.terms(inputs), self.args.device)
        loss: Any = super().compute_loss(model, inputs, *args, **words)
        return share * loss

    def training_step(self, *args: Any, **words: Any) -> Tensor:
        """As the Trainer's; LossNotFinite where the loss is none (the Trainer would average it away in its log)."""
        loss: Tensor = super().training_step(*args, **words)
        finite(loss)
        return loss

    # A checkpoint holds the whole state_dict, for each method alike: peft's own leaves the trained head out.
    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        assert self.model is not None
        torch.save(self.model.state_dict() if state_dict is None else state_dict, folder / _WEIGHTS)

    def _save_rng_state(self, output_dir: str) -> None:
        """As the Trainer's; each process's stands before process 0 writes what makes a checkpoint a whole one."""
        super()._save_rng_state(output_dir)
        if processes() > 1:
            torch.distributed.barrier()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        state = torch.load(Path(resume_from_checkpoint) / _WEIGHTS, map_location="cpu", weights_only=True)
        into = model or self.model
        assert into is not None
        into.load_state_dict(state)

    def _load_best_model(self) -> None:
        assert self.state.best_model_checkpoint is not None
        self._load_from_checkpoint(self.state.best_model_checkpoint)


def _left_to_ddp(model: nn.Module) -> bool:
    """Whether anything trains whose gradient `sparsegrad.data_parallel` leaves to DDP."""
    own = set(getattr(model, "_ddp_params_and_buffers_to_ignore", ()))
    return any(parameter.requires_grad and name not in own for name, parameter in model.named_parameters())


def latest_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint under `folder`; those that a kill cut short are removed.

    The Trainer writes its state last: where that can be read, the rest is there.
    """
    while folder.is_dir() and (found := get_last_checkpoint(str(folder))) is not None:
        try:
            json.loads((Path(found) / _STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(found)
        else:
            return found
    return None
