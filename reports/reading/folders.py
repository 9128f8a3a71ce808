"""Which files are records: each folder given is a store of them, or holds stores."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.errors import BadRequest
from bench.record import Record
from bench.store import Store
from eval.mtbench.hostile import one_line, well_formed

__all__ = ["Skipped", "Source", "read_folders"]

_NOTE = "NOTE.txt"
_RECORD_NAME = re.compile(r"[A-Za-z0-9_]+-[0-9]+\.json")
# Stores lie in the folder given or so many floors below it: a results folder is also home to checkpoints and bases,
# which are deep and none of ours to read.
_FLOORS = 2


@dataclass(frozen=True, kw_only=True)
class Source:
    """One record and the name of the folder it was read from."""

    folder: str
    record: Record
    note: str | None = None
    """What must be said beside the figures of that folder: the line in its NOTE.txt."""


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """One file or record that was left out, and why."""

    path: str
    """Relative to the folder given."""
    reason: str


def read_folders(folders: Iterable[Path]) -> tuple[list[Source], list[Skipped]]:
    """All records under the folders, and the files there that are none; BadRequest for a folder that is not there."""
    sources: list[Source] = []
    skipped: list[Skipped] = []
    for given in folders:
        if not given.is_dir():
            raise BadRequest(f"{str(given)!r} is no folder: give --results DIR, or measure: python -m bench.speed")
        for store in stores(given):
            name = store.name if store != given else given.resolve().name
            note = _note(store)
            records, damaged = Store(store).read_all()
            for record in records:
                try:
                    sources.append(Source(folder=well_formed(name), record=_mended(record), note=note))
                except RecursionError:
                    path = f"{record.kind}/{record.key}"
                    skipped.append(Skipped(path=path, reason="not a record: nested too deeply"))
            skipped += [
                Skipped(path=_shown(path, given), reason=well_formed(" ".join(reason.split())[:300]))
                for path, reason in damaged
            ]
    return sources, skipped


def stores(folder: Path) -> list[Path]:
    """The folder, where records lie one floor down from it; else those of its sub-folders of which that is true."""
    return _stores(folder, _FLOORS)


def _stores(folder: Path, floors: int) -> list[Path]:
    if any(_RECORD_NAME.fullmatch(path.name) for path in folder.glob("*/*.json")):
        return [folder]
    if floors == 0:
        return []
    inside = sorted(path for path in folder.iterdir() if path.is_dir())
    return [store for path in inside for store in _stores(path, floors - 1)]


def _note(store: Path) -> str | None:
    """One line, cut at a length to be read; None where there is none that can be read."""
    try:
        text = (store / _NOTE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return one_line(text, 300) or None


def _shown(path: Path, given: Path) -> str:
    """Bytes that are no UTF-8 stand as replacement characters: a name may hold anything."""
    return str(path.relative_to(given)).encode("utf-8", "replace").decode("utf-8")


def _mended(record: Record) -> Record:
    """The record with every string well-formed: JSON can carry half a surrogate pair, no file can."""
    names = ("command", "reason", "config", "environment", "fingerprints")
    return replace(record, **{name: _whole(getattr(record, name)) for name in names})


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {well_formed(name): _whole(item) for name, item in value.items()}
    return value
