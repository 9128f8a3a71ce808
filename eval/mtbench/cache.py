"""Every reply of the judge, by the key of what was asked; appended, on the disk before it counts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from eval.mtbench.items import Ask, Reply
from eval.mtbench.journal import Damage, Journal, read_journal

__all__ = ["ReplyCache"]

_FILE = "replies.jsonl"


class ReplyCache:
    """``<folder>/replies.jsonl``: a line a reply, with what it was about under ``asked``.

    Use as a context manager: ``with ReplyCache.open(folder) as cache``.
    """

    def __init__(self, folder: Path, journal: Journal | None) -> None:
        self.folder = folder
        self.damaged: list[Damage] = []
        """Lines that are no reply; they are passed over and left where they are."""
        self._journal = journal
        self._replies: dict[tuple[str, str | None], Reply] = {}
        lines, self.damaged = read_journal(folder / _FILE)
        for number, line in lines:
            try:
                reply = _reply_of(line)
            except ValueError as error:
                self.damaged.append(Damage(line=number, reason=str(error)))
            else:
                self._keep(reply)
        self.damaged.sort(key=lambda damage: damage.line)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """To read and append; makes the folder, heals a torn last line.

        Raises BadRequest where another process has it open, or it cannot be written.
        """
        return cls(folder, Journal.open(folder / _FILE))

    @staticmethod
    def check_free(folder: Path) -> None:
        """Raises BadRequest where another process has it open; writes nothing."""
        Journal.check_free(folder / _FILE)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """To read alone, as for ``--replay``: takes no lock, changes no byte."""
        return cls(folder, None)

    def get(self, key: str, host: str) -> Reply | None:
        """What the service at ``host`` said under the key: its last final reply, else its last that is not final (a
        transport failure), else None. The same judge's name at another host may be another judge."""
        return self._replies.get((key, host))

    def put(self, ask: Ask, reply: Reply) -> None:
        """Append ``reply`` to ``ask``; on the disk on return."""
        assert self._journal is not None, "opened to read alone"
        assert reply.key == ask.key
        about = {name: value for name, value in asdict(ask).items() if name != "messages"}
        self._journal.append({**asdict(reply), "asked": about})
        self._keep(reply)

    def __len__(self) -> int:
        """How many keys have a reply, counted for each service."""
        return len(self._replies)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Give the folder free."""
        if self._journal is not None:
            self._journal.close()

    def _keep(self, reply: Reply) -> None:
        place = reply.key, reply.served_by
        before = self._replies.get(place)
        if before is None or reply.final or not before.final:
            self._replies[place] = reply


def _reply_of(line: dict[str, Any]) -> Reply:
    """The reply of a line; ValueError where it holds none."""
    told = {name: value for name, value in line.items() if name != "asked"}
    if not isinstance(told.get("served_by"), str):
        raise ValueError("served_by: the host that answered expected")
    if not isinstance(told.setdefault("adapted", []), list):
        raise ValueError("adapted: a list of texts expected")
    try:
        return Reply(**{**told, "adapted": tuple(told["adapted"])})
    except TypeError:
        raise ValueError("not a reply: fields are missing or unknown") from None
