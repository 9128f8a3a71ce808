"""The Trainer for replies: every counted token of an update weighs the same, however the update is cut into parts."""

from __future__ import annotations

from typing import Any

from torch import nn

from eval.chat.loss import reply_nll
from eval.trainer import TaskTrainer
from sparsegrad.average import processes

__all__ = ["ReplyTrainer"]


class ReplyTrainer(TaskTrainer):
    """As `TaskTrainer`, with the loss of replies: nats a token, the mean over all counted tokens of an update."""

    loss_is_scaled_for_ga = True
    empty_shares = True

    def __init__(self, *args: Any, **words: Any) -> None:
        super().__init__(*args, **words)
        # The Trainer counts an update's tokens for models that take the count; here the loss takes it.
        self.model_accepts_loss_kwargs = True

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The share of one backward in the update's loss; `num_items_in_batch`: its tokens, of all processes."""
        assert not return_outputs, "conversations are scored by eval.chat.loss.by_tree"
        nll_B, _ = reply_nll(model, inputs)
        return processes() * nll_B.sum() / num_items_in_batch  # times processes: their mean is taken
