"""The loss of replies: batches, and what a batch's counted tokens cost. Shapes: B texts, T tokens, V vocabulary."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.batches import Batch, collate
from bench.tokenize import Encoding
from bench.train import LossNotFinite, to_device
from eval.chat.rendering import IGNORED, Rendered

__all__ = ["TreeLoss", "batch_of", "by_tree", "reply_nll", "row_of"]

Row = dict[str, Any]
# Two tokens: the second would be foretold, if it counted.
_NOTHING: Row = {"input_ids": [0, 0], "labels": [IGNORED, IGNORED]}


def row_of(rendered: Rendered) -> Row:
    """As the Trainer takes it."""
    return {"input_ids": rendered.input_ids, "labels": rendered.labels}


def batch_of(rows: Sequence[Row], *, filler: int = 0) -> Batch:
    """Rows to a batch, padded to its longest: input_ids, attention_mask, labels, each (B, T) int64.

    Arguments:
        rows: none, the share of a process for which none is left, make a batch of one text that counts for nothing.
        filler: hidden by the mask and counted in no loss, so that any id does; the tokenizer's own for padding may lie
            beyond the model's vocabulary.
    """
    rows = rows or [_NOTHING]
    encodings = [Encoding(input_ids=row["input_ids"], token_type_ids=None) for row in rows]
    width = max(len(row["labels"]) for row in rows)
    padded = [row["labels"] + [IGNORED] * (width - len(row["labels"])) for row in rows]
    return collate(encodings, torch.tensor(padded), pad_id=filler, width=width)


def reply_nll(model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Of each text the summed negative log-likelihood of its counted tokens (B,) in nats, and their number (B,)."""
    logits_BTV = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    # Position t foretells token t + 1; in fp32, as transformers' own loss is.
    label_BT = batch["labels"][:, 1:]
    nll_BT = nn.functional.cross_entropy(
        logits_BTV[:, :-1].float().transpose(1, 2), label_BT, ignore_index=IGNORED, reduction="none"
    )
    return nll_BT.sum(1), (label_BT != IGNORED).sum(1)


@dataclass(frozen=True, kw_only=True)
class TreeLoss:
    """What the replies of one conversation tree cost, all its branches together."""

    tree: str
    nll: float
    """Nats."""
    tokens: int


def by_tree(model: nn.Module, rendered: Sequence[Rendered], device: torch.device, *, batch_size: int) -> list[TreeLoss]:
    """Each tree's loss, in the order of their first texts; the model in eval mode, and as it was afterwards.

    Raises LossNotFinite where a loss is no number.
    """
    order = sorted(rendered, key=lambda text: len(text.input_ids), reverse=True)
    nll: dict[str, float] = defaultdict(float)
    tokens: dict[str, int] = defaultdict(int)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for at in range(0, len(order), batch_size):
                texts = order[at : at + batch_size]
                nll_B, count_B = reply_nll(model, to_device(batch_of([row_of(text) for text in texts]), device))
                for text, cost, count in zip(texts, nll_B.tolist(), count_B.tolist(), strict=True):
                    nll[text.tree] += cost
                    tokens[text.tree] += count
    finally:
        model.train(training)
    trees = dict.fromkeys(text.tree for text in rendered)
    found = [TreeLoss(tree=tree, nll=nll[tree], tokens=tokens[tree]) for tree in trees]
    for told in found:
        if not math.isfinite(told.nll):
            raise LossNotFinite(f"the loss of a validation reply is {told.nll}: lower --lr, or use --dtype fp32")
    return found
