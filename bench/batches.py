"""Token ids to padded batches, in a seeded order. Shapes: B examples, T tokens."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor

from bench.tokenize import Encoding

__all__ = ["Batch", "Padding", "active_token_share", "collate", "fingerprint", "shuffled"]

Batch = dict[str, Tensor]
Padding = Literal["max", "longest"]
_IGNORED = -100  # what torch's cross entropy leaves out


def collate(encodings: Sequence[Encoding], labels: Tensor | None, *, pad_id: int, width: int | None) -> Batch:
    """One batch, padded on the right to `width` tokens (None: to its longest).

    Keys: input_ids, attention_mask (B, T) int64; token_type_ids (B, T) int64 where the encodings have them;
    labels as given, (B,) int64 classes or float32 scores. `labels=None` makes them the input ids (B, T) of a
    causal model, -100 at padding.
    """
    width = width or max(len(encoding.input_ids) for encoding in encodings)
    shape = (len(encodings), width)
    ids_BT = torch.full(shape, pad_id)
    mask_BT = torch.zeros(shape, dtype=torch.int64)
    types_BT = torch.zeros(shape, dtype=torch.int64)
    typed = True
    for row, encoding in enumerate(encodings):
        length = len(encoding.input_ids)
        ids_BT[row, :length] = torch.tensor(encoding.input_ids)
        mask_BT[row, :length] = 1
        if encoding.token_type_ids is None:
            typed = False
        else:
            types_BT[row, :length] = torch.tensor(encoding.token_type_ids)
    batch = {"input_ids": ids_BT, "attention_mask": mask_BT}
    if typed:
        batch["token_type_ids"] = types_BT
    # A copy: as a view it would keep the labels of every batch alive, and be counted as that.
    batch["labels"] = ids_BT.masked_fill(mask_BT == 0, _IGNORED) if labels is None else labels.clone()
    return batch


def shuffled(count: int, need: int, *, generator: torch.Generator) -> list[int]:
    """`need` indices below `count`: a permutation, and a fresh one each time it is used up."""
    order: list[int] = []
    while len(order) < need:
        order += torch.randperm(count, generator=generator).tolist()
    return order[:need]


def active_token_share(batches: Iterable[Batch]) -> float:
    """The share of positions that hold a token, not padding: 0 to 1."""
    masks = [batch["attention_mask"] for batch in batches]
    return sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)


def fingerprint(batches: Iterable[Batch]) -> str:
    """16 hex digits of sha256 over every tensor: name, dtype, shape and content, in order."""
    digest = hashlib.sha256()
    for batch in batches:
        for name, tensor in sorted(batch.items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
