"""One run in several processes, each with its share of every batch: under torchrun or accelerate launch.

Each process that the launcher starts runs the command. The first leads: it looks up, calibrates, files and prints; the
others follow, and run what it tells them to. A run takes place in fresh processes, one beside each, with a process
group of their own: what ends one of them (no memory, a loss that is no number, a kill) ends that run alone.
"""

from __future__ import annotations

import argparse
import atexit
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import torch

from bench.cli import DONE, say
from bench.errors import BadRequest
from bench.fresh import Outcome, run_fresh
from bench.record import Status

__all__ = ["Start", "leading"]

# Called with a function and its arguments: what came of it in a process, or in several, of its own.
Start = Callable[..., Outcome]
# Followers wait while the leader calibrates or runs what needs one process.
_PATIENCE = timedelta(days=7)


def leading(work: Callable[[Start], int], args: argparse.Namespace) -> int:
    """The exit code of `work(start)`, which runs in the process that leads; `start` begins a run in all of them.

    Without a launcher `start` is `run_fresh`. BadRequest for options of `args` that do not go with a launcher.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ:
        # Asked for several, accelerate tells even a lone process where they meet.
        if {"ACCELERATE_MIXED_PRECISION", "MASTER_PORT"} <= os.environ.keys():
            say(
                "accelerate launch was asked for several processes and has started one, which runs alone: on CPUs it "
                "starts several with --multi_gpu in place of --cpu, and so does torchrun"
            )
        return work(run_fresh)
    if getattr(args, "workers", None) not in (None, 1):
        raise BadRequest(f"--workers {args.workers}: under a launcher its processes share one run; leave it out")
    if getattr(args, "ray", None) is not None:
        raise BadRequest(
            f"--ray {args.ray}: under a launcher its processes share one run; leave it out, or start without"
        )
    if getattr(args, "tune", None) is not None:
        raise BadRequest("--tune: under a launcher no trial is pruned; start the command once a worker instead")
    team = _Team(
        rank=int(os.environ["RANK"]),
        size=int(os.environ["WORLD_SIZE"]),
        local=int(os.environ.get("LOCAL_RANK", os.environ["RANK"])),
        address=os.environ.get("MASTER_ADDR", "127.0.0.1"),
        gpus=0 if getattr(args, "device", None) == "cpu" else torch.cuda.device_count(),
    )
    if team.gpus and team.local >= team.gpus:  # told before it is waited for
        raise BadRequest(
            f"process {team.rank} finds {team.gpus} GPUs on its machine, all taken; start as many processes there, or "
            "give --device cpu"
        )
    torch.distributed.init_process_group("gloo", timeout=_PATIENCE)
    try:
        if team.rank:
            code = team.follow()
        else:
            try:
                code = work(team.start)
            finally:
                team.dismiss()
    finally:
        torch.distributed.destroy_process_group()
    if "TORCHELASTIC_RUN_ID" in os.environ:  # this process is the launcher's own
        atexit.register(_leave, code)
    return code


def _leave(code: int) -> None:
    """End here, all said: on a loaded machine torch 2.13 sometimes aborts a process of a group as it is taken down
    ("terminate called without an active exception"), and its launcher then tells of a failure that was none."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@dataclass(frozen=True, kw_only=True)
class _Team:
    """This process among those of the launcher."""

    rank: int
    size: int
    local: int
    """Of the GPU it takes, where runs take GPUs."""
    address: str
    """Of the machine of process 0."""
    gpus: int
    """Of this machine, as far as runs take them."""

    def start(self, function: Callable[..., Any], *args: Any) -> Outcome:
        """In the leader: the function in every process; its value here, or the first failure anywhere."""
        return self._join(self._heard((_free_port(), function, args)))

    def dismiss(self) -> None:
        """In the leader: let the followers go."""
        self._heard(None)

    def follow(self) -> int:
        """In the others: run what the leader says, until it lets go."""
        while (order := self._heard(None)) is not None:
            self._join(order)
        return DONE

    @staticmethod
    def _heard(order: Any) -> Any:
        told = [order]
        torch.distributed.broadcast_object_list(told)
        return told[0]

    def _join(self, order: tuple[int, Callable[..., Any], tuple[Any, ...]]) -> Outcome:
        port, function, args = order
        place = {
            "RANK": self.rank,
            "WORLD_SIZE": self.size,
            "LOCAL_RANK": self.local,
            "MASTER_ADDR": self.address,
            "MASTER_PORT": port,
        }
        words = {name: str(value) for name, value in place.items()}
        outcome = run_fresh(_together, words, self.gpus > 0, function, args)
        told: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(told, (outcome.status is Status.OK, time.time(), self.rank, outcome))
        failed = [(ended, rank, other) for good, ended, rank, other in told if not good]
        if not failed:
            return outcome
        # Those that fail later fail because the first is gone.
        _, rank, first = min(failed, key=lambda entry: entry[:2])
        return replace(first, value=None, reason=f"process {rank}: {first.reason}")


def _together(place: dict[str, str], gpu: bool, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """In the fresh process: take a GPU, meet the others, then run the function."""
    os.environ.update(place)
    # The launcher's own store holds the addresses of the processes that it started, not of these.
    os.environ.pop("TORCHELASTIC_USE_AGENT_STORE", None)
    if gpu:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES")
        local = int(place["LOCAL_RANK"])
        os.environ["CUDA_VISIBLE_DEVICES"] = seen.split(",")[local] if seen else str(local)
        os.environ["LOCAL_RANK"] = "0"
    torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo")
    value = function(*args)
    torch.distributed.destroy_process_group()
    return value


def _free_port() -> int:
    """Of this machine, free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
    return port
