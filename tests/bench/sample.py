"""A record as bench.speed writes it, and another process that has it."""

import subprocess
import sys
from pathlib import Path

from bench.record import Record, Status

ROOT = Path(__file__).parents[2]
RECORD = Record(
    kind="speed",
    key="00ff",
    status=Status.OK,
    config={"model": "minilm-l6", "kept": 0.01, "methods": ["full", "lora"]},
    fingerprints={"code": "c0de"},
    environment={"host": "here", "gpu": None},
    command="python -m bench.speed",
    seed=0,
    started="2026-01-02T03:04:05+00:00",
    ended="2026-01-02T03:05:05Z",
    result={"step_ms": [1.5, 2.25]},
)


def child(script, *argv, **options):
    """A process with `script` in which `store` is open on argv[1] and `RECORD` is this module's."""
    head = (
        "import os, signal, sys; from dataclasses import replace; from pathlib import Path\n"
        "from bench.record import Record\nfrom bench.store import Store\n"
        "store = Store(Path(sys.argv[1])); RECORD = Record.from_json(sys.argv[2])\n"
    )
    command = [sys.executable, "-c", head + script, argv[0], RECORD.to_json(), *argv[1:]]
    return subprocess.Popen([str(word) for word in command], cwd=ROOT, text=True, **options)


def temporaries(folder):
    return [path for path in folder.rglob("*") if path.name.endswith(".tmp")]
