"""Instruments for the peak memory of a train step.

CUDA: the allocator's own count (``max_memory_allocated``; requested and reserved beside it). Without CUDA: ``tracked``,
the peak of live tensor storages, counted exactly by a dispatch mode as torch makes and frees them. It sees what torch
allocates for tensors, not an operator's private workspace, and never the process's resident set, which counts the
libraries, the allocator's slack and what other code left behind.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True, kw_only=True)
class PeakReading:
    """Bytes at the highest point, over all and within each phase, and the instrument that read them.

    ``requested_bytes`` (before the allocator rounds) and ``reserved_bytes`` (held from the driver): CUDA alone.
    """

    instrument: str
    peak_bytes: int
    by_phase_bytes: dict[str, int]
    requested_bytes: int | None = None
    reserved_bytes: int | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)


class TrackedPeak(TorchDispatchMode):
    """Use as a context; ``watch`` what lives already, ``mark`` the phases, then ``read``."""

    instrument = "tracked"

    def __init__(self) -> None:
        super().__init__()
        self.live_bytes = 0
        self._sizes: dict[int, int] = {}
        self._peak_in_phase = 0
        self._by_phase: dict[str, int] = {}

    def watch(self, tensors: Iterable[Any]) -> None:
        """Count the storages of these tensors (of a sparse one: its indices and values) from now until they die."""
        for tensor in tensors:
            if not isinstance(tensor, Tensor):
                continue
            if tensor.layout is torch.strided:
                self._count(tensor.untyped_storage())
            elif tensor.layout is torch.sparse_coo:
                self.watch((tensor._indices(), tensor._values()))
            elif tensor.layout is torch.sparse_csr:
                self.watch((tensor.crow_indices(), tensor.col_indices(), tensor.values()))
            else:
                raise NotImplementedError(f"tracked peak of a {tensor.layout} tensor")

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._sizes:
            return
        self._sizes[key] = storage.nbytes()
        self.live_bytes += storage.nbytes()
        self._peak_in_phase = max(self._peak_in_phase, self.live_bytes)
        weakref.finalize(storage, self._release, key)

    def _release(self, key: int) -> None:
        self.live_bytes -= self._sizes.pop(key)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.watch(tree_leaves(result))
        return result

    def mark(self, phase: str) -> None:
        """See ``train.Probe``: close the phase, and begin the next at what is alive now."""
        self._by_phase[phase] = max(self._by_phase.get(phase, 0), self._peak_in_phase)
        self._peak_in_phase = self.live_bytes

    def read(self) -> PeakReading:
        """The highest point of all phases so far."""
        phases = {phase: peak for phase, peak in self._by_phase.items() if phase != "start"}
        return PeakReading(instrument=self.instrument, peak_bytes=max(phases.values()), by_phase_bytes=phases)


class CudaPeak:
    """The CUDA caching allocator's statistics, reset at each phase boundary. Context and Probe as TrackedPeak."""

    instrument = "cuda max_memory_allocated"

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._by_phase: dict[str, int] = {}
        self._requested = self._reserved = 0

    def __enter__(self) -> CudaPeak:
        torch.cuda.synchronize(self.device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        return self

    def __exit__(self, *_: object) -> None:
        torch.cuda.synchronize(self.device)

    def watch(self, tensors: Iterable[Any]) -> None:
        """Nothing to do: the allocator knows what lives."""

    def mark(self, phase: str) -> None:
        """See ``train.Probe``."""
        torch.cuda.synchronize(self.device)
        stats = torch.cuda.memory_stats(self.device)
        self._by_phase[phase] = max(self._by_phase.get(phase, 0), stats["allocated_bytes.all.peak"])
        self._requested = max(self._requested, stats.get("requested_bytes.all.peak", 0))
        self._reserved = max(self._reserved, stats["reserved_bytes.all.peak"])
        torch.cuda.reset_peak_memory_stats(self.device)

    def read(self) -> PeakReading:
        """The highest point of all phases so far."""
        phases = {phase: peak for phase, peak in self._by_phase.items() if phase != "start"}
        return PeakReading(
            instrument=self.instrument,
            peak_bytes=max(phases.values()),
            by_phase_bytes=phases,
            requested_bytes=self._requested,
            reserved_bytes=self._reserved,
        )


def instrument_for(device: torch.device) -> TrackedPeak | CudaPeak:
    """The allocator's count on CUDA, the tracked peak elsewhere."""
    return CudaPeak(device) if device.type == "cuda" else TrackedPeak()
