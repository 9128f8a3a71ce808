"""A file of one JSON object a line that only grows: on the disk before it counts, one writer, healed after a kill."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bench.errors import BadRequest

__all__ = ["Damage", "Journal", "read_journal"]


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A line that is no JSON object (of the kind expected): passed over, and left where it is."""

    line: int
    """Counted from 1."""
    reason: str


class Journal:
    """The file, open to append, for this process alone. Use as a context manager."""

    def __init__(self, path: Path, descriptor: int, lock: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._lock = lock

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open ``path`` to append, made if need be; what a kill tore off its end goes to ``<path>.torn``.

        Raises BadRequest where another process has it open, or it cannot be written to.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(_lock_of(path), os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise BadRequest(_unwritable(path, error)) from error
        descriptor = -1
        try:
            # The kernel lets go of it when the process ends, however it ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            _heal(path, descriptor)
        except BlockingIOError:
            os.close(lock)
            raise BadRequest(_taken(path)) from None
        except OSError as error:
            for opened in (descriptor, lock):
                if opened >= 0:
                    os.close(opened)
            raise BadRequest(_unwritable(path, error)) from error
        return cls(path, descriptor, lock)

    @staticmethod
    def check_free(path: Path) -> None:
        """Raises BadRequest where another process has the file open. Writes nothing, and holds nothing."""
        try:
            lock = os.open(_lock_of(path), os.O_RDONLY)
        except OSError:  # nobody has ever opened it; what else is wrong is told by ``open``
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadRequest(_taken(path)) from None
        finally:
            os.close(lock)

    def append(self, value: Mapping[str, Any]) -> None:
        """One line, on the disk on return. OSError, and no line, where it cannot be written whole."""
        # ASCII: half a surrogate pair, which JSON may carry and UTF-8 may not, survives.
        line = json.dumps(value, ensure_ascii=True, allow_nan=False).encode() + b"\n"
        before = os.fstat(self._descriptor).st_size
        try:
            written = 0
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
            os.fsync(self._descriptor)
        except OSError:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                os.ftruncate(self._descriptor, before)
            raise

    def close(self) -> None:
        """Let another process have it."""
        os.close(self._descriptor)
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_journal(path: Path) -> tuple[list[tuple[int, dict[str, Any]]], list[Damage]]:
    """(line number, object) of each whole line, and the damaged ones; nothing where there is no file.

    Changes no byte. A last line without its end is still being written, or was torn: told as damage if no JSON.
    """
    whole: list[tuple[int, dict[str, Any]]] = []
    damaged: list[Damage] = []
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            damaged.append(Damage(line=number, reason="not JSON, or cut short"))
            continue
        if isinstance(value, dict):
            whole.append((number, value))
        else:
            damaged.append(Damage(line=number, reason=f"a JSON object expected, got {type(value).__name__}"))
    return whole, damaged


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except FileNotFoundError:
        return
    except OSError as error:
        raise BadRequest(f"cannot read {str(path)!r}: {error.strerror}") from error


def _heal(path: Path, descriptor: int) -> None:
    """Make the file end with a whole line: a JSON object gets the newline it lacks, anything else is put aside."""
    text = path.read_bytes()
    start = text.rfind(b"\n") + 1
    tail = text[start:]
    if not tail:
        return
    try:
        whole = isinstance(json.loads(tail), dict)
    except (ValueError, RecursionError):
        whole = False
    if whole:
        os.write(descriptor, b"\n")
    else:
        with path.with_name(f"{path.name}.torn").open("ab") as aside:
            aside.write(tail + b"\n")
            aside.flush()
            os.fsync(aside.fileno())
        os.ftruncate(descriptor, start)
    os.fsync(descriptor)


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _taken(path: Path) -> str:
    return f"another run is writing {str(path)!r}; wait until it has ended, or give another --out"


def _unwritable(path: Path, error: OSError) -> str:
    return f"cannot write {str(path)!r} ({error.strerror}): give a folder that can be written to, --out DIR"
