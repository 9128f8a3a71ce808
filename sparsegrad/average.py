"""The mean of a gradient over the processes that train together."""

from __future__ import annotations

import torch
from torch import Tensor


def processes() -> int:
    """How many train together: 1 where there is no process group."""
    distributed = torch.distributed
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def average_(gradient: Tensor) -> None:
    """The mean over all processes, in place and the same to the bit in each; every process has to call it.

    Mean, not sum, as DDP: of gradients that are equal already, earlier micro-batches among them, it is the same again.
    """
    count = processes()
    if count > 1:
        torch.distributed.all_reduce(gradient.div_(count))  # divided first: a sum in half precision could overflow
