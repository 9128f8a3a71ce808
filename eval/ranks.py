"""What a process does otherwise where several train one model: its share of each batch, weighed so that all is one.

The batches are those of a single process, example for example, and the gradient is that of the mean over each whole
batch: the result is the single process's, to rounding (but for dropout, whose draws each process makes on its own).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from bench.errors import BadRequest
from sparsegrad.average import processes

__all__ = ["ShareLoader", "Shares", "agreed", "each", "rank", "weight"]

T = TypeVar("T")


def rank() -> int:
    """Of this process, from 0."""
    return torch.distributed.get_rank() if processes() > 1 else 0


def agreed(choose: Callable[[], T]) -> T:
    """What process 0 chooses, in all of them."""
    if processes() == 1:
        return choose()
    told: list[Any] = [choose() if rank() == 0 else None]
    torch.distributed.broadcast_object_list(told)
    chosen: T = told[0]
    return chosen


def each(batch_size: int) -> int:
    """Examples of a backward in each process; BadRequest where they cannot be dealt out evenly."""
    if batch_size % processes():
        raise BadRequest(
            f"a backward of {batch_size} examples does not divide over {processes()} processes; give a --batch-size "
            "over --accumulate that does"
        )
    return batch_size // processes()


def weight(count: int, device: torch.device) -> float:
    """What this process's mean loss over `count` terms is multiplied by, so that DDP's mean is that of all terms."""
    total: Tensor = torch.tensor(float(count), device=device)
    torch.distributed.all_reduce(total)
    return processes() * count / total.item()


class Shares(Sampler[list[int]]):
    """Of each batch in the order of `sampler`, every n-th example to each of n processes.

    A last batch too small to go round is given whole to all of them, which is the same mean over the batch; or, where
    `empty`, it is dealt out as far as it goes, which is the same sum: the others get a share of no examples.
    """

    def __init__(self, sampler: Any, batch_size: int, *, empty: bool = False) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.empty = empty

    def set_epoch(self, epoch: int) -> None:
        """The order is the epoch's."""
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = list(self.sampler)
        for at in range(0, len(order), self.batch_size):
            batch = order[at : at + self.batch_size]
            dealt = self.empty or len(batch) >= processes()
            yield batch[rank() :: processes()] if dealt else batch


class ShareLoader(DataLoader[Any]):
    """A loader of shares that hears which epoch it is, as the Trainer says it."""

    def set_epoch(self, epoch: int) -> None:
        """Passed on to the order of the examples."""
        assert isinstance(self.batch_sampler, Shares)
        self.batch_sampler.set_epoch(epoch)
