"""A command in two processes on this machine, as torchrun and accelerate launch start it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_ACCELERATE = (sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2")
# What accelerate would otherwise say that it has chosen.
_CHOSEN = ("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no")


def free_port() -> int:
    """Of this machine, free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def begun(launcher: str, module: str, argv: Sequence[str]) -> subprocess.Popen[str]:
    """``python -m module argv``; `launcher`: torchrun, accelerate, or accelerate --cpu, which starts one process."""
    port = str(free_port())
    programs = {
        "torchrun": [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", port],
        "accelerate": [*_ACCELERATE, "--multi_gpu", "--main_process_port", port, *_CHOSEN],
        "accelerate --cpu": [*_ACCELERATE, "--cpu", "--main_process_port", port, *_CHOSEN],
    }
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [*programs[launcher], "-m", module, *argv]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def launched(launcher: str, module: str, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """As `begun`, seen to its end."""
    with begun(launcher, module, argv) as process:
        try:
            out, err = process.communicate(timeout=280)
        except BaseException:
            process.terminate()  # the launcher then ends what it has started; killed it could not
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
