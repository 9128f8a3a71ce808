"""What lets the Hugging Face Trainer carry COO gradients."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .clip import clip_grad_norm_


class SparseGradTrainerMixin:
    """Put before ``Trainer``: ``class SparseGradTrainer(SparseGradTrainerMixin, Trainer)``.

    Overrides only how the gradient norm is taken and clipped. The Trainer (transformers 5) takes the norm through
    torch's clip_grad_norm_ even where clipping is off, and that refuses COO gradients. Pass the optimizer as
    ``optimizer_cls_and_kwargs=(SparseGradOptimizer, {"lr": ...})`` or in ``optimizers=``.
    """

    accelerator: Any
    args: Any

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        """Clip to ``args.max_grad_norm``; returns the norm before."""
        return self._norm(model, self.args.max_grad_norm)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Tensor | None = None) -> Tensor:
        """The norm already taken by clipping, or taken now without clipping."""
        return self._norm(model, float("inf")) if grad_norm is None else grad_norm

    def _norm(self, model: nn.Module, max_norm: float) -> Tensor:
        self.accelerator.unscale_gradients()
        return clip_grad_norm_(model.parameters(), max_norm)
