"""Re-choose a fixed support from fresh gradients, every N optimizer steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from .adapter import compact_layers
from .compact import CompactLinear
from .core import strongest
from .errors import SparseGradError


def refresh_support(model: nn.Module, optimizer: Optimizer, *, every: int) -> RemovableHandle:
    """After each ``every``-th ``optimizer.step()``, let the compact layers train the entries of their cores with the
    most gradient energy since the last refresh; returns a handle whose ``remove()`` ends that.

    The function does not jump: an entry that leaves keeps what it has learned (``CompactLinear.settled``), one that
    comes back goes on from there. Optimizer moments of entries that stay are carried, those of new ones start at
    zero. Energies are summed over processes, so that every rank chooses alike. Costs one (r, c) sum of squares a
    layer and backward; where ``kept`` fills the core there is nothing to choose.

    Raises:
        SparseGradError: ``every`` below 1, no compact layer, or ``values`` that the optimizer does not hold.
    """
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise SparseGradError(f"every={every!r}: give a number of optimizer steps, 1 or more")
    layers = list(compact_layers(model).values())
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not layers:
        raise SparseGradError("nothing to refresh: the model has no compact layer (convert with support='fixed')")
    if missing := [layer.name for layer in layers if id(layer.values) not in held]:
        raise SparseGradError(f"the optimizer does not hold the values of {missing[0]}: build it after convert")
    for layer in layers:
        layer.energy = torch.zeros(layer.core_shape, dtype=layer.values.dtype, device=layer.values.device)
    steps = 0

    def after_step(_optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        nonlocal steps
        steps += 1
        if steps % every == 0:
            for layer in layers:
                _rechoose(layer, optimizer.state.get(layer.values, {}))

    return optimizer.register_step_post_hook(after_step)


@torch.no_grad()
def _rechoose(layer: CompactLinear, state: dict[str, Any]) -> None:
    energy = layer.energy
    assert energy is not None
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(energy)
    if energy.any():
        learned, old = layer.core().detach().clone(), layer.places.long()
        new = strongest(energy, len(old)).long()
        layer.settled = learned.clone()
        layer.settled.view(-1)[new] = 0
        layer.values.copy_(learned.view(-1)[new])
        layer.places.copy_(new)
        for name, moment in state.items():
            if isinstance(moment, Tensor) and moment.shape == layer.values.shape:
                state[name] = torch.zeros_like(learned, dtype=moment.dtype).view(-1).index_copy_(0, old, moment)[new]
    energy.zero_()
