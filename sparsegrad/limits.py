"""The limits: forward and input gradients of every block alone, nothing trains."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .additive import frozen_linear
from .roles import Target, is_transposed, weight_of


def frozen(model: nn.Module) -> nn.Module:
    """Freeze everything; the input embeddings' output requires grad, so that dx flows through every block.

    A method whose first tuned linear stands behind the first block's attention needs no gradient there: it may keep
    that attention's share less than this.
    """
    model.requires_grad_(False)
    tokens: nn.Embedding = model.get_input_embeddings()  # type: ignore[operator]
    for module in model.modules():
        # T5's two stacks look tokens up in modules of their own: told by the vocabulary's size.
        if isinstance(module, nn.Embedding) and module.num_embeddings == tokens.num_embeddings:
            module.register_forward_hook(lambda _module, _inputs, output: output.requires_grad_(True))
    return model


def drop_zero_rows(found: list[Target]) -> None:
    """Let the backward of these frozen linears leave out the zero rows of dL/dy, as SparseGrad's do."""
    for target in found:
        target.module.forward = _Dropping(target.module)


class _Dropping:
    """The forward of a frozen linear, with a backward over the nonzero rows. A class, so that deepcopy rebinds it."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, x: Tensor) -> Tensor:
        weight, bias = weight_of(self.module), self.module.bias
        w_OI = weight.T if is_transposed(self.module) else weight
        dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        y_TO = frozen_linear(x.reshape(-1, w_OI.shape[1]), w_OI, bias if isinstance(bias, Tensor) else None, dtype)
        return y_TO.view(*x.shape[:-1], len(w_OI))
