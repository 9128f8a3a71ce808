"""What the machine does while it is measured: who takes its processors, its clock, temperature, throttling.

Read before the first round and after each one, never inside a timed turn. What cannot be read is None.
"""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

__all__ = ["MachineLog", "Reading", "free_bytes", "read_machine"]

# Sensors of processors, by the driver's name: a hot disk slows no product.
_CPU_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "x86_pkg_temp", "soc_thermal")
# The names that drivers of all ages know; newer ones list them as deprecated.
_GPU_QUERY = (
    "temperature.gpu",
    "clocks.sm",
    "clocks_throttle_reasons.hw_slowdown",
    "clocks_throttle_reasons.sw_thermal_slowdown",
)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One moment. Processor times are sums over all cores since some start: only differences mean anything."""

    at_s: float
    """Monotonic clock."""
    own_cpu_s: float
    """Of this process, all threads."""
    busy_cpu_s: float
    """Of every process of the machine, this one included, and of the kernel."""
    steal_cpu_s: float | None
    """Time that the host of a virtual machine gave to others while this machine wanted it."""
    load_1min: float | None
    """Load average of one minute, processes."""
    clock_mhz: float | None
    """Of the fastest core."""
    temperature_c: float | None
    """Of the processor's hottest sensor."""
    gpu_temperature_c: float | None = None
    gpu_clock_mhz: float | None = None
    gpu_throttled: bool | None = None
    """Slowed down by its own protection, for heat or power."""


def read_machine(device: torch.device) -> Reading:
    """The machine now; a GPU's part only where ``device`` is one."""
    import psutil  # type: ignore[import-untyped]

    times, own = psutil.cpu_times(), psutil.Process().cpu_times()
    busy = sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq"))
    clocks = [core.current for core in _or_none(psutil, "cpu_freq", percpu=True) or () if core.current]
    sensors = _or_none(psutil, "sensors_temperatures") or {}
    heats = [sensor.current for name in _CPU_SENSORS for sensor in sensors.get(name, ()) if sensor.current]
    return Reading(
        at_s=time.monotonic(),
        own_cpu_s=own.user + own.system,
        busy_cpu_s=busy,
        steal_cpu_s=getattr(times, "steal", None),
        load_1min=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        clock_mhz=max(clocks, default=None),
        temperature_c=max(heats, default=None),
        **(_gpu(device) if device.type == "cuda" else {}),
    )


def free_bytes() -> int:
    """Memory that a process can have here without swapping: what is free, and what caches would be given up for it."""
    import psutil

    available: int = psutil.virtual_memory().available
    return available


def _or_none(module: Any, name: str, **options: Any) -> Any:
    """What a reader of psutil tells; None where the system has none, or hides it."""
    try:
        return getattr(module, name)(**options)
    except (AttributeError, OSError, NotImplementedError, RuntimeError):
        return None


def _gpu(device: torch.device) -> dict[str, Any]:
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    command = ["nvidia-smi", f"--query-gpu={','.join(_GPU_QUERY)}", "--format=csv,noheader,nounits", "-i", uuid]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return parse_gpu(done.stdout)


def parse_gpu(line: str) -> dict[str, Any]:
    """The fields of a reading from one line of ``nvidia-smi``; a word it does not know is None."""
    words = [word.strip() for word in line.strip().split(",")]
    if len(words) != len(_GPU_QUERY):
        return {}
    heat, clock = (float(word) if word.isdecimal() else None for word in words[:2])
    flags = {"Active": True, "Not Active": False}
    slowed = [flags[word] for word in words[2:] if word in flags]
    return {"gpu_temperature_c": heat, "gpu_clock_mhz": clock, "gpu_throttled": any(slowed) if slowed else None}


@dataclass(kw_only=True)
class MachineLog:
    """The readings of one run. Call it before the first round and after each."""

    device: torch.device
    threads: int = field(default_factory=torch.get_num_threads)
    """Of this process, that share the work of an operation."""
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Logical."""
    readings: list[Reading] = field(default_factory=list)

    def __call__(self) -> None:
        self.readings.append(read_machine(self.device))

    def as_json(self) -> dict[str, Any]:
        """JSON types."""
        return {"threads": self.threads, "cores": self.cores, "readings": [asdict(each) for each in self.readings]}
