"""Instruments for the peak memory of a train step.

CUDA: the allocator's own counts, reset at each phase boundary (allocated; requested and reserved beside it), and what
the whole device holds. Without CUDA: ``tracked``, the peak of live tensor storages, counted exactly by a dispatch mode
as torch makes and frees them. It sees what torch allocates for tensors, not an operator's private workspace, and never
the process's resident set, which counts the libraries, the allocator's slack and what other code left behind.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.train import PHASES

__all__ = ["CudaPeak", "Held", "PeakReading", "TrackedPeak", "instrument_for", "storages_of"]


@dataclass(frozen=True, kw_only=True)
class PeakReading:
    """Bytes at the highest point, over all and within each phase, and the instrument that read them.

    ``peak_phase`` and ``peak_step``: where that point stands; steps are counted by their "start" marks, from 1.
    ``live_after_step_bytes``: what is alive when each step ends. CUDA alone, else None: ``requested_bytes`` (before
    the allocator rounds; None too where it does not count them) and ``reserved_bytes`` (held from the driver), at the
    highest and by phase, and ``by_phase_device_used_bytes``: the whole device, other processes and CUDA's own included,
    as each phase ends.
    """

    instrument: str
    peak_bytes: int
    by_phase_bytes: dict[str, int]
    peak_phase: str | None = None
    peak_step: int | None = None
    live_after_step_bytes: list[int] = field(default_factory=list)
    requested_bytes: int | None = None
    reserved_bytes: int | None = None
    by_phase_requested_bytes: dict[str, int] | None = None
    by_phase_reserved_bytes: dict[str, int] | None = None
    by_phase_device_used_bytes: dict[str, int] | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)


@dataclass(kw_only=True, eq=False)
class Held:
    """One live storage: its size, what it is (``attribution.CATEGORIES``) and the module it belongs to."""

    nbytes: int
    category: str = "temporaries"
    owner: str = ""


@dataclass(kw_only=True)
class _High:
    """The highest point of a phase: bytes, the step it stands in, and what was alive there where that is kept."""

    nbytes: int = 0
    step: int = 0
    alive: list[Held] = field(default_factory=list)


def storages_of(tensor: Tensor) -> Iterator[torch.UntypedStorage]:
    """The storages a tensor lies in; of a sparse one: of its indices and values."""
    if tensor.layout is torch.strided:
        yield tensor.untyped_storage()
    elif tensor.layout is torch.sparse_coo:
        yield from (tensor._indices().untyped_storage(), tensor._values().untyped_storage())
    elif tensor.layout is torch.sparse_csr:
        for part in (tensor.crow_indices(), tensor.col_indices(), tensor.values()):
            yield part.untyped_storage()
    else:
        raise NotImplementedError(f"tracked peak of a {tensor.layout} tensor")


class TrackedPeak(TorchDispatchMode):
    """Use as a context; ``watch`` what lives already, ``mark`` the phases, then ``read``."""

    instrument = "tracked"

    def __init__(self) -> None:
        super().__init__()
        self.live_bytes = 0
        self._live: dict[int, Held] = {}
        self._high = _High()
        self._by_phase: dict[str, _High] = {}
        self._step = 0
        self._after_step: list[int] = []

    def watch(self, tensors: Iterable[Any]) -> None:
        """Count the storages of these tensors (of a sparse one: its indices and values) from now until they die."""
        for tensor in tensors:
            if isinstance(tensor, Tensor):
                for storage in storages_of(tensor):
                    self._count(storage)

    def _count(self, storage: torch.UntypedStorage) -> Held:
        key = storage._cdata
        held = self._live.get(key)
        if held is None:
            held = self._live[key] = self._born(storage.nbytes())
            self.live_bytes += held.nbytes
            if self.live_bytes > self._high.nbytes:
                self._high = self._highest()
            weakref.finalize(storage, self._release, key)
        return held

    def _born(self, nbytes: int) -> Held:
        """A new storage."""
        return Held(nbytes=nbytes)

    def _highest(self) -> _High:
        """The point that was just reached is the phase's highest so far."""
        return _High(nbytes=self.live_bytes, step=self._step)

    def _release(self, key: int) -> None:
        self.live_bytes -= self._live.pop(key).nbytes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.watch(tree_leaves(result))
        return result

    def mark(self, phase: str) -> None:
        """See ``train.Probe``: close the phase, and begin the next at what is alive now."""
        if phase not in self._by_phase or self._high.nbytes > self._by_phase[phase].nbytes:
            self._by_phase[phase] = self._high
        if phase == PHASES[-1]:
            self._after_step.append(self.live_bytes)
        self._step += phase == "start"
        self._high = self._highest()

    def read(self) -> PeakReading:
        """The highest point of all phases so far."""
        phases = self._phases()
        highest = max(phases, key=lambda phase: phases[phase].nbytes)
        return PeakReading(
            instrument=self.instrument,
            peak_bytes=phases[highest].nbytes,
            by_phase_bytes={phase: high.nbytes for phase, high in phases.items()},
            peak_phase=highest,
            peak_step=phases[highest].step,
            live_after_step_bytes=list(self._after_step),
        )

    def _phases(self) -> dict[str, _High]:
        """The phases proper: what comes before "start" is none of them."""
        return {phase: high for phase, high in self._by_phase.items() if phase != "start"}


class CudaPeak:
    """The CUDA caching allocator's statistics, reset at each phase boundary. Context and Probe as TrackedPeak."""

    instrument = "cuda max_memory_allocated"

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._by_phase: dict[str, int] = {}
        self._requested: dict[str, int] = {}
        self._reserved: dict[str, int] = {}
        self._device_used: dict[str, int] = {}
        self._step_of: dict[str, int] = {}
        self._step = 0
        self._after_step: list[int] = []

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
        free, total = torch.cuda.mem_get_info(self.device)
        if stats["allocated_bytes.all.peak"] > self._by_phase.get(phase, -1):
            self._by_phase[phase], self._step_of[phase] = stats["allocated_bytes.all.peak"], self._step
        for highest, now in (
            (self._requested, stats.get("requested_bytes.all.peak", 0)),
            (self._reserved, stats["reserved_bytes.all.peak"]),
            (self._device_used, total - free),
        ):
            highest[phase] = max(highest.get(phase, 0), now)
        if phase == PHASES[-1]:
            self._after_step.append(stats["allocated_bytes.all.current"])
        self._step += phase == "start"
        torch.cuda.reset_peak_memory_stats(self.device)

    def read(self) -> PeakReading:
        """The highest point of all phases so far."""
        phases, requested, reserved, used = (
            {phase: nbytes for phase, nbytes in read.items() if phase != "start"}
            for read in (self._by_phase, self._requested, self._reserved, self._device_used)
        )
        highest = max(phases, key=lambda phase: phases[phase])
        return PeakReading(
            instrument=self.instrument,
            peak_bytes=phases[highest],
            by_phase_bytes=phases,
            peak_phase=highest,
            peak_step=self._step_of[highest],
            live_after_step_bytes=list(self._after_step),
            # CUDA's own asynchronous allocator counts no requests, and says 0.
            requested_bytes=max(requested.values()) or None,
            reserved_bytes=max(reserved.values()),
            by_phase_requested_bytes=requested if any(requested.values()) else None,
            by_phase_reserved_bytes=reserved,
            by_phase_device_used_bytes=used,
        )


def instrument_for(device: torch.device) -> TrackedPeak | CudaPeak:
    """The allocator's count on CUDA, the tracked peak elsewhere."""
    return CudaPeak(device) if device.type == "cuda" else TrackedPeak()
