"""The CUDA allocator's history of two train steps, in the file that PyTorch's memory viewer opens."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from bench.cells import Desk, ready
from bench.errors import BadRequest
from bench.fresh import run_fresh
from bench.record import Status
from bench.request import Request
from bench.store import look
from bench.train import train_step
from sparsegrad.methods import Method

__all__ = ["check_folder", "outlook", "snapshots", "write_snapshot"]

_STEPS = 2


def check_folder(folder: Path) -> None:
    """BadRequest where a snapshot in ``folder`` can be seen not to be writable, before anything is measured."""
    try:
        look(folder)
    except OSError as error:
        raise BadRequest(f"--snapshot {folder} cannot be written to ({error.strerror}): give another folder") from error


def outlook(methods: Sequence[Method], folder: Path, *, fresh: bool) -> dict[str, str]:
    """What `snapshots` would do, a line a method."""
    places = {f"{method.name}, snapshot": _place(method, folder) for method in methods}
    return {
        name: f"{'to be written' if fresh or not at.is_file() else 'there already'}, {at}"
        for name, at in places.items()
    }


def _place(method: Method, folder: Path) -> Path:
    return folder / f"{method.name}.pickle"


def snapshots(desk: Desk, methods: Sequence[Method], folder: Path) -> dict[str, str | None]:
    """Write ``folder``/METHOD.pickle for each method that has none yet, in a fresh process each; method -> why not."""
    folder.mkdir(parents=True, exist_ok=True)
    failed = {}
    for method in methods:
        path = _place(method, folder)
        if path.is_file() and not desk.fresh:
            continue
        outcome = run_fresh(write_snapshot, desk.request, method.name, desk.bases_file(method), path)
        if outcome.status is not Status.OK:
            failed[method.name] = outcome.reason
    return failed


def write_snapshot(request: Request, method: str, bases: Path | None, path: Path) -> None:
    """Two train steps of a method, recorded from its first allocation on. The file is for torch's own viewer
    (pytorch.org/memory_viz): a pickle, which nothing here reads."""
    # torch keeps every allocation and its stack; the count bounds a runaway, not a step.
    torch.cuda.memory._record_memory_history(max_entries=1_000_000)
    try:
        prepared, batch = ready(request, method, bases)
        for _ in range(_STEPS):
            train_step(prepared, batch)
        part = path.with_suffix(".part")
        torch.cuda.memory._dump_snapshot(str(part))
        os.replace(part, path)
    finally:
        torch.cuda.memory._record_memory_history(enabled=None)
