"""Where a run takes place: the machine, the libraries, the code, and the command that repeats it.

Nothing here tells who ran it: no user names, no paths, no tokens. What cannot be read is None.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["code_fingerprint", "environment", "identity", "rerun_command"]

LIBRARIES = ("torch", "transformers", "peft", "tensorly", "safetensors", "numpy", "scipy")
SWITCHES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "PYTORCH_ALLOC_CONF",  # the name since torch 2.9; the next one still works
    "PYTORCH_CUDA_ALLOC_CONF",
    "NVIDIA_TF32_OVERRIDE",
    "CUBLAS_WORKSPACE_CONFIG",
)
_IDENTITY = (
    "host",
    "device",
    "cpu",
    "physical_cores",
    "logical_cores",
    "threads",
    "python",
    "cuda",
    "libraries",
)

_SECRET_OPTION = re.compile(r"--?(?:\w+[-_])*(?:key|token|secret|password|apikey)", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"\b(?:sk-[\w-]{12,}|hf_\w{12,})")
_REDACTED = "REDACTED"


def environment(device: str) -> dict[str, Any]:
    """The machine as a run on `device` (as torch names it: cpu, cuda, cuda:1) sees it, in JSON types.

    `gpu` is None unless the device is one. Units stand in the names; clocks are those of this moment.
    """
    import torch

    commit, dirty = _git_state(Path(__file__).parent)
    return {
        "host": platform.node(),
        "platform": platform.platform(),
        "device": device,
        "cpu": _cpu_model(),
        "physical_cores": _physical_cores(),
        "logical_cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": _memory_bytes(),
        "gpu": _gpu(device),
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
        "libraries": {name: _library_version(name) for name in LIBRARIES},
        "git_commit": commit,
        "git_dirty": dirty,
        "switches": {name: os.environ.get(name) for name in SWITCHES},
    }


def identity(environment: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `environment(...)` that two runs must share to be the same run: it goes into the record's
    key.

    Clocks change from second to second, and the code has its own fingerprint: neither is here.
    """
    gpu = environment["gpu"]
    return {
        **{name: environment[name] for name in _IDENTITY},
        "gpu": gpu and {name: value for name, value in gpu.items() if name != "clocks"},
        "switches": environment["switches"],
    }


def code_fingerprint(*packages: str) -> str:
    """SHA-256 (64 hex) over the names and contents of every .py file of the top-level `packages`.

    Default: sparsegrad and bench. The code counts as it lies on the disk, committed or not. Raises ValueError
    for a package that is not there.
    """
    digest = hashlib.sha256()
    for package in sorted(packages or ("sparsegrad", "bench")):
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise ValueError(f"no package {package!r} to take a fingerprint of")
        for folder in map(Path, spec.submodule_search_locations):
            for path in sorted(folder.rglob("*.py")):
                # Lengths first, so that no two lists of files read as the same bytes.
                for part in (f"{package}/{path.relative_to(folder).as_posix()}".encode(), path.read_bytes()):
                    digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def rerun_command(module: str, argv: Sequence[str]) -> str:
    """The line that runs `module` with `argv` (without the program's name) again, quoted for a POSIX shell.

    The value of an option that ends in key, token, secret or password, and anything that looks like an OpenAI
    or Hugging Face token, is replaced by REDACTED.
    """
    words: list[str] = []
    secret_follows = False
    for word in argv:
        option, equals, _ = word.partition("=")
        if secret_follows and not word.startswith("-"):
            words.append(_REDACTED)
        elif equals and _SECRET_OPTION.fullmatch(option):
            words.append(f"{option}={_REDACTED}")
        else:
            words.append(_SECRET_VALUE.sub(_REDACTED, word))
        secret_follows = _SECRET_OPTION.fullmatch(word) is not None
    return shlex.join(["python", "-m", module, *words])


def _gpu(device: str) -> dict[str, Any] | None:
    """The GPU behind `device`; `memory_bytes` and `name` tell a MIG slice from the whole."""
    import torch

    if torch.device(device).type != "cuda" or not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory_bytes": properties.total_memory,
        **_driver_and_clocks(f"GPU-{properties.uuid}"),
    }


def _driver_and_clocks(uuid: str) -> dict[str, Any]:
    """What nvidia-smi says of the GPU with that UUID (an index would ignore CUDA_VISIBLE_DEVICES)."""
    query = "driver_version,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem"
    line = _output("nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits", "-i", uuid)
    driver, *clocks = [word.strip() for word in line.split(",")] if line else [None] * 5
    names = ("sm_mhz", "memory_mhz", "sm_max_mhz", "memory_max_mhz")
    readable = [int(clock) if clock and clock.isdecimal() else None for clock in clocks]
    return {"driver": driver, "clocks": dict(zip(names, readable, strict=True))}


def _git_state(folder: Path) -> tuple[str | None, bool | None]:
    """(commit, whether Python files differ from it or are not in it); (None, None) where git has no file of
    `folder`, as in a package installed into a virtual environment that lies inside some other checkout."""
    if not _output("git", "ls-files", folder=folder):
        return None, None
    commit = _output("git", "rev-parse", "HEAD", folder=folder)
    # Without its lock: killed while it refreshes the index, status would leave one that stops the user's next commit.
    changes = _output("git", "--no-optional-locks", "status", "--porcelain", "--", ":(top)*.py", folder=folder)
    return commit, None if commit is None or changes is None else bool(changes)


def _output(*command: str, folder: Path | None = None) -> str | None:
    """What a command prints, stripped; None where it is absent, fails, or takes over 20 seconds."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _library_version(name: str) -> str | None:
    """From the installed metadata: importing a library to ask its version would load it."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str | None:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine() or None


def _physical_cores() -> int | None:
    """Groups of hardware threads that share a core, as Linux lists them."""
    try:
        files = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/thread_siblings_list")
        return len({file.read_text(encoding="utf-8") for file in files}) or None
    except OSError:
        return None


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
