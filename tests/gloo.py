"""A function in two gloo processes of this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing.spawn import spawn

WORLD = 2


def in_two_processes(function: Callable[..., None], meeting: Path, *args: Any) -> None:
    """``function(rank, *args)`` in each; `meeting`: a file not there yet. What one raises is raised here."""
    both = spawn(_rank, (function, str(meeting), args), nprocs=WORLD, join=False)
    assert both is not None
    deadline = time.monotonic() + 200
    try:
        while not both.join(timeout=1):  # False while one of them still runs
            assert time.monotonic() < deadline, "the processes wait for each other"
    finally:
        for process in both.processes:
            process.kill()


def _rank(rank: int, function: Callable[..., None], meeting: str, args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=WORLD)
    function(rank, *args)
    torch.distributed.destroy_process_group()
    # Past the interpreter's own end: a thread of gloo's that lets go of a tensor meanwhile aborts the process
    # (pytorch/pytorch#190489), seen on loaded machines.
    os._exit(0)
