"""What may stand in one comparison: figures of the same workload, code and libraries and, for cost, of one machine."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from bench.record import Record

__all__ = ["describe_machine", "machine", "same_workload", "setting"]

# As bench.environment.identity, read where a record may hold anything: what a run's cost depends on.
_HARDWARE = ("host", "device", "cpu", "physical_cores", "logical_cores", "threads", "switches")
_SOFTWARE = ("python", "cuda", "libraries")


def machine(record: Record) -> str:
    """The hardware and its switches as one text that is equal where they are; clocks change and are left out."""
    where = record.environment
    gpu = where.get("gpu")
    named = {name: value for name, value in gpu.items() if name != "clocks"} if isinstance(gpu, dict) else gpu
    return _canonical({**{name: where.get(name) for name in _HARDWARE}, "gpu": named})


def same_workload(record: Record, *, but: Collection[str]) -> str:
    """Request, data and model as one text that is equal where they are; ``but``: fields of the request that a
    comparison is over, such as the method."""
    request = {name: value for name, value in record.config.items() if name not in but}
    read = {name: value for name, value in record.fingerprints.items() if name not in ("code", "model")}
    return _canonical({"kind": record.kind, "request": request, "read": read})


def setting(record: Record, *, but: Collection[str], cost: bool) -> str:
    """All that two records must share to be compared: workload, code, libraries and, for ``cost``, the machine."""
    software = {name: record.environment.get(name) for name in _SOFTWARE}
    shared = {"software": software, "code": record.fingerprints.get("code")}
    if cost:
        shared |= {"machine": machine(record), "model": record.fingerprints.get("model")}
    return same_workload(record, but=but) + _canonical(shared)


def describe_machine(record: Record) -> str:
    """For people: ``AMD EPYC, 2 threads`` or the GPU's name."""
    where = record.environment
    gpu = where.get("gpu")
    if isinstance(gpu, dict) and isinstance(gpu.get("name"), str):
        return gpu["name"]
    threads = where.get("threads")
    told = [where["cpu"]] if isinstance(where.get("cpu"), str) else ["unknown processor"]
    return ", ".join(told + ([f"{threads} threads"] if isinstance(threads, int) else []))


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
