"""What autograd keeps between forward and backward, to the byte."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.peak import storages_of

__all__ = ["SavedForBackward"]


class _Packed:
    """What the graph holds in a saved tensor's place; the graph lets go of it when the tensor is used up."""

    __slots__ = ("__weakref__", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


@dataclass(kw_only=True)
class _Kept:
    """A storage the graph holds: its size, who saved it first, and how many saved tensors lie in it now."""

    nbytes: int
    owner: str
    tensors: int = 0


class SavedForBackward:
    """Use as a context: autograd then tells every tensor it saves, and lets it go (``saved_tensors_hooks``).

    A storage counts once, however many tensors saved lie in it, from its first saving until the graph has let go of
    its last. Graphs made outside the context are not seen.

    Args:
        owner: who saves, asked as it happens. noticed: told of each storage as it is saved, with its owner.
    """

    def __init__(
        self,
        owner: Callable[[], str] = lambda: "",
        noticed: Callable[[torch.UntypedStorage, str], None] = lambda _storage, _owner: None,
    ) -> None:
        self._owner, self._noticed = owner, noticed
        self._kept: dict[int, _Kept] = {}
        self._hooks: Any = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda packed: packed.tensor)

    def __enter__(self) -> SavedForBackward:
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)

    def _pack(self, tensor: Tensor) -> _Packed:
        owner, packed = self._owner(), _Packed(tensor)
        for storage in storages_of(tensor):
            key = storage._cdata
            kept = self._kept.setdefault(key, _Kept(nbytes=storage.nbytes(), owner=owner))
            kept.tensors += 1
            weakref.finalize(packed, self._let_go, key)
            self._noticed(storage, kept.owner)
        return packed

    def _let_go(self, key: int) -> None:
        kept = self._kept[key]
        kept.tensors -= 1
        if not kept.tensors:
            del self._kept[key]

    def by_owner_bytes(self, *, but: Collection[int] = ()) -> dict[str, int]:
        """Owner -> bytes held now. ``but``: storages (``_cdata``) that live anyway, such as the weights'."""
        told: dict[str, int] = {}
        for key, kept in self._kept.items():
            if key not in but:
                told[kept.owner] = told.get(kept.owner, 0) + kept.nbytes
        return told

    def total_bytes(self, *, but: Collection[int] = ()) -> int:
        """Bytes held now, without those of ``but``."""
        return sum(self.by_owner_bytes(but=but).values())
