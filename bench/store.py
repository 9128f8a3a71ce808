"""The folder where records lie: found by key, written whole or not at all, never overwritten."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from bench.errors import BadRequest
from bench.record import Record, Status

__all__ = ["Store", "look"]

_FILE_NAME = re.compile(r"([A-Za-z0-9_]+)-([0-9]+)\.json")
# What flock(2) answers where there are no locks; link(2) where there are no hard links (exFAT, some network and FUSE
# mounts).
_NO_LOCKS = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


def is_ok(record: Record) -> bool:
    """Whether what was asked came to its end."""
    return record.status is Status.OK


class Store:
    """A folder of records: `<folder>/<kind>/<key>-<attempt>.json`, attempts counted from 1.

    Any number of processes may share it: a record appears whole or not at all, and none replaces another.
    What a killed process leaves behind ends in `.tmp` and is no record to any reader.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def open(cls, folder: Path, *, dry: bool = False) -> Self:
        """The store in `folder`, made if need be; BadRequest where a file cannot be written there.

        `dry`: nothing is written, and what a look at the folder tells is all that is refused.
        """
        try:
            (look if dry else _probe)(folder)
        except OSError as error:
            raise BadRequest(
                f"cannot write records in {str(folder)!r} ({error.strerror}): "
                "give a folder that can be written to, --out DIR"
            ) from error
        return cls(folder)

    def find(self, kind: str, key: str, settled: Callable[[Record], bool] = is_ok) -> Record | None:
        """The newest record under that key that is ok, or ``settled`` in another sense; damaged files are passed
        over."""
        for path in reversed(self._attempts(kind, key)):
            try:
                record = _read(path)
            except (OSError, ValueError):
                continue
            if settled(record):
                return record
        return None

    def read_all(self, kind: str | None = None) -> tuple[list[Record], list[tuple[Path, str]]]:
        """All records (of one kind) by kind, key, attempt; and (path, reason) of each file that is none."""
        records: list[Record] = []
        damaged: list[tuple[Path, str]] = []
        for path in sorted(self.folder.glob(f"{kind or '*'}/*.json"), key=_order):
            try:
                records.append(_read(path))
            except (OSError, ValueError) as error:
                damaged.append((path, str(error)))
        return records, damaged

    def file(self, record: Record, *, again: bool = False) -> Record:
        """Write the record, or give the ok one that another process has filed under its key meanwhile.

        ``again``: write it all the same. Looking and writing are one step for all processes that share the folder, as
        far as its file system keeps locks.
        """
        with self._turn(record.key):
            known = None if again or record.status is not Status.OK else self.find(record.kind, record.key)
            if known is None:
                self.write(record)
        return known or record

    @contextmanager
    def _turn(self, key: str) -> Iterator[None]:
        locks = self.folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with (locks / f"{key}.filing").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
            yield

    def write(self, record: Record) -> Path:
        """Publish under the next free attempt and return the path once it is on the disk.

        The text goes to a temporary name and gets its own only when it is whole, by link(2), which is atomic
        and refuses a name that is taken (POSIX.1). Raises ValueError for a record that is not strict JSON,
        and OSError, with nothing left behind, where the file cannot be written.
        """
        text = record.to_json() + "\n"
        folder = self.folder / record.kind
        temporary = folder / f".{record.key}.{secrets.token_hex(8)}.tmp"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("x", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                path = self._publish(temporary, record)
            finally:
                temporary.unlink(missing_ok=True)
            _sync_folder(folder)
            _sync_folder(self.folder)
        except OSError as error:
            message = f"cannot write the {record.kind} record {record.key}: {error.strerror}"
            raise OSError(error.errno, message, str(folder)) from error
        return path

    def _publish(self, temporary: Path, record: Record) -> Path:
        taken = self._attempts(record.kind, record.key)
        for attempt in itertools.count(_order(taken[-1])[2] + 1 if taken else 1):
            path = self.folder / record.kind / f"{record.key}-{attempt}.json"
            try:
                _move_to_free_name(temporary, path)
            except FileExistsError:  # another process was first: the next number
                continue
            return path
        raise AssertionError("unreachable: the count does not end")

    def _attempts(self, kind: str, key: str) -> list[Path]:
        paths = (self.folder / kind).glob(f"{key}-*.json")
        return sorted((path for path in paths if _FILE_NAME.fullmatch(path.name)), key=_order)


def look(folder: Path) -> None:
    """OSError where a file in `folder`, which may not be there yet, can be seen not to be writable."""
    for place in (folder, *folder.parents):
        try:
            place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))
        return


def _probe(folder: Path) -> None:
    """OSError where a file cannot be written in `folder`, which is made."""
    probe = folder / f".probe.{secrets.token_hex(8)}.tmp"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        probe.write_text("probe", encoding="utf-8")
    finally:
        probe.unlink(missing_ok=True)


def _read(path: Path) -> Record:
    """The record at `path`; OSError or ValueError where there is none, or another than its name says."""
    name = _FILE_NAME.fullmatch(path.name)
    if name is None:
        raise ValueError("not a record's name: <key>-<attempt>.json expected")
    record = Record.from_json(path.read_text(encoding="utf-8"))
    if (record.kind, record.key) != (path.parent.name, name[1]):
        raise ValueError(f"misplaced: holds kind {record.kind}, key {record.key}")
    return record


def _order(path: Path) -> tuple[str, str, int]:
    """Kind, key and attempt as a number: 10 comes after 9."""
    name = _FILE_NAME.fullmatch(path.name)
    return (path.parent.name, name[1], int(name[2])) if name else (path.parent.name, path.name, 0)


def _move_to_free_name(temporary: Path, path: Path) -> None:
    """Give the file `temporary` the name `path`; FileExistsError where that is taken.

    Without hard links the name is first taken by an empty file: still no record is lost, but a process killed
    between the two calls leaves that empty file, which readers list as damaged.
    """
    try:
        os.link(temporary, path)
        return
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        os.replace(temporary, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder outlive a power cut, where its file system knows how."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(handle)
