"""Which batches are out, written down before and after each is made, so that no kill loses one that is paid for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from eval.mtbench.journal import Journal, read_journal

__all__ = ["FILE", "Book", "Entry"]

FILE = "batches.jsonl"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A batch in the book; ``batch`` is None where its creation was begun, and not seen to end."""

    nonce: str
    keys: frozenset[str]
    batch: str | None


class Book:
    """Which batches are out: ``<cache folder>/batches.jsonl``, appended, a line an event."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @classmethod
    def open(cls, folder: Path) -> Book:
        """Raises BadRequest where another process has it open."""
        return cls(Journal.open(folder / FILE))

    def out(self, host: str) -> list[Entry]:
        """Batches at that host that were not collected to the end, oldest first."""
        entries: dict[str, Entry] = {}
        for _, line in read_journal(self._journal.path)[0]:
            nonce, event, keys = str(line.get("nonce")), line.get("event"), line.get("keys")
            if event == "planned" and isinstance(keys, list) and line.get("host") == host:
                entries[nonce] = Entry(nonce=nonce, keys=frozenset(map(str, keys)), batch=None)
            elif event == "made" and nonce in entries:
                entries[nonce] = replace(entries[nonce], batch=str(line.get("batch")))
            elif event == "over":
                entries.pop(nonce, None)
        return list(entries.values())

    def planned(self, nonce: str, host: str, keys: Iterable[str]) -> None:
        """A batch is about to be made."""
        self._journal.append({"event": "planned", "nonce": nonce, "host": host, "keys": list(keys)})

    def made(self, nonce: str, batch: str) -> None:
        """The service has given it an id."""
        self._journal.append({"event": "made", "nonce": nonce, "batch": batch})

    def over(self, nonce: str) -> None:
        """There is nothing more to be had from it."""
        self._journal.append({"event": "over", "nonce": nonce})

    def __enter__(self) -> Book:
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()
