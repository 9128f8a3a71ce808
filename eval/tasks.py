"""The tasks that eval trains on: GLUE's nine, read by bench, and the one that is generated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from bench import tasks as glue
from bench.errors import BadRequest
from bench.tasks import Example, Task
from eval.synthetic import SYNTHETIC, generated

__all__ = ["TASKS", "read_task"]

TASKS: Mapping[str, Task] = MappingProxyType({**glue.TASKS, SYNTHETIC.name: SYNTHETIC})


def read_task(name: str, *, data_dir: Path | None, split: str = "train", limit: int | None = None) -> list[Example]:
    """As `bench.tasks.read_task`; BadRequest for a folder where the text is generated."""
    if name != SYNTHETIC.name:
        return glue.read_task(name, data_dir=data_dir, split=split, limit=limit)
    if data_dir is not None:
        raise BadRequest(f"--data-dir {data_dir}: the {name} task is generated, not read; give a GLUE --task with it")
    if limit is not None and limit < 1:
        raise BadRequest(f"--limit {limit} leaves no example; give 1 or more, or leave it out for all")
    return generated(split, limit)
