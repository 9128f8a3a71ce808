"""Commands that are killed: when they are at work, what they have started, what they have left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import psutil  # type: ignore[import-untyped]

from bench.store import Store

__all__ = ["LONG", "checkpoints", "ended", "finished", "until"]

# Updates of a run that is long enough to be killed at; checkpoints every fifth of it.
LONG = 150


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def checkpoints(folder: Path) -> list[Path]:
    return list(folder.glob("unfinished/*/checkpoint-*/trainer_state.json"))


@contextmanager
def ended(driver: Popen[str]) -> Iterator[None]:
    """The command, and all that it has started, gone at the end."""
    try:
        yield
    finally:
        for process in [*psutil.Process(driver.pid).children(recursive=True), driver] if driver.poll() is None else ():
            process.kill()
        driver.communicate()


def finished(folder: Path, cells: int) -> None:
    """Every cell has one record, and nothing is left over."""
    records, damaged = Store(folder).read_all("glue")
    assert not damaged and len(records) == cells == len({record.key for record in records})
    assert all(record.status == "ok" for record in records)
    assert not list((folder / "unfinished").glob("*"))
