"""A task's examples for fine-tuning: what is trained on, what is held out for choices, what is reported.

The labelled validation split is reported and never chosen on. Whatever is chosen (a learning rate, when to stop, which
checkpoint is best) is chosen on a slice held out of the training split, the same for every method and seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from bench.batches import Batch, Padding, collate
from bench.errors import BadRequest
from bench.tasks import Example, text_fingerprint
from bench.tokenize import Encoding, Tokenizer
from eval.protocol import Protocol
from eval.tasks import TASKS, read_task

__all__ = ["Collator", "Splits", "read_splits", "rows_of"]

Row = dict[str, Any]
# A tenth of the training examples, but no more than tell two learning rates apart by two or three points.
_HELD_OUT_SHARE, _HELD_OUT_MOST = 0.1, 2000
# Not a seed that is reported: which examples are held out must not vary with what is compared.
_HELD_OUT_SEED = 271_828
_TOKENS_COMPARED = 64


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Examples: `train` without those held out, `held_out`, and the reported splits by name."""

    task: str
    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    reported: Mapping[str, tuple[Example, ...]]

    def fingerprint(self) -> str:
        """16 hex digits over every text and label, and which are held out."""
        parts = [self.train, self.held_out, *self.reported.values()]
        return hashlib.sha256(" ".join(map(text_fingerprint, parts)).encode()).hexdigest()[:16]

    def tokens(self, tokenizer: Tokenizer, *, vocabulary: int) -> str:
        """16 hex digits over what a tokenizer makes of the held-out texts: another tokenizer shows. BadRequest for one
        whose ids the model has not."""
        encodings = tokenizer.encode([example.texts for example in self.held_out], max_length=_TOKENS_COMPARED)
        highest = max(max(encoding.input_ids) for encoding in encodings)
        if highest >= vocabulary:
            raise BadRequest(
                f"tokenizer {tokenizer.name} gives id {highest}, the model's vocabulary ends at {vocabulary - 1}; "
                "give the --tokenizer that belongs to the model"
            )
        return hashlib.sha256(repr([encoding.input_ids for encoding in encodings]).encode()).hexdigest()[:16]


def read_splits(task: str, *, data_dir: Path | None, limit: int | None = None) -> Splits:
    """Read a task's labelled splits and set a slice of its training examples aside.

    Arguments:
        limit: read so many examples of each split at most.
    Raises BadRequest for files that are missing or malformed, too few examples, and texts whose label is one and the
    same throughout (nothing could be learnt, and no metric told).
    """
    examples = read_task(task, data_dir=data_dir, limit=limit)
    held = min(round(_HELD_OUT_SHARE * len(examples)), _HELD_OUT_MOST)
    more = "give more of them" if limit is None else f"raise --limit {limit}"
    if held < 1:
        raise BadRequest(f"{task} has {len(examples)} training examples here; 10 or more are needed, {more}")
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(_HELD_OUT_SEED)).tolist()
    chosen = set(order[:held])
    names = TASKS[task].splits[1:]
    reported = {name: tuple(read_task(task, data_dir=data_dir, split=name, limit=limit)) for name in names}
    for name, split in {"train": examples, **reported}.items():
        if len({example.label for example in split}) < 2:
            raise BadRequest(f"{task}: every label of the split {name} is {split[0].label}, two are needed; {more}")
    return Splits(
        task=task,
        train=tuple(example for at, example in enumerate(examples) if at not in chosen),
        held_out=tuple(examples[at] for at in sorted(chosen)),
        reported=reported,
    )


def rows_of(examples: Sequence[Example], tokenizer: Tokenizer, *, max_length: int) -> list[Row]:
    """Examples as the Trainer's samplers and `Collator` take them: input_ids, token_type_ids, labels."""
    encodings = tokenizer.encode([example.texts for example in examples], max_length=max_length)
    return [
        {"input_ids": encoding.input_ids, "token_type_ids": encoding.token_type_ids, "labels": example.label}
        for encoding, example in zip(encodings, examples, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class Collator:
    """Rows to a batch, padded as the protocol says."""

    pad_id: int
    padding: Padding
    max_length: int

    @classmethod
    def of(cls, protocol: Protocol, tokenizer: Tokenizer) -> Self:
        """As this protocol and this tokenizer pad."""
        return cls(pad_id=tokenizer.pad_id, padding=protocol.padding, max_length=protocol.max_length)

    def __call__(self, rows: Sequence[Row]) -> Batch:
        """A batch as `bench.batches.collate` makes them."""
        encodings = [Encoding(input_ids=row["input_ids"], token_type_ids=row["token_type_ids"]) for row in rows]
        labels: Tensor = torch.tensor([row["labels"] for row in rows])
        width = self.max_length if self.padding == "max" else None
        return collate(encodings, labels, pad_id=self.pad_id, width=width)
