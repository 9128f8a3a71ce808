"""Every reply of the judge, by the key of what was asked; appended, on the disk before it counts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from eval.mtbench.items import Ask, Reply
from eval.mtbench.journal import Damage, Journal, read_journal

__all__ = ["ReplyCache"]

_FILE = "replies.jsonl"
_NUMBERS = ("prompt_tokens", "completion_tokens")
_TEXTS = ("text", "finish_reason", "failure", "judge_returned", "fingerprint", "request_id", "served_by")


class ReplyCache:
    """``<folder>/replies.jsonl``: a line a reply, with what it was about under ``asked``.

    Use as a context manager: ``with ReplyCache.open(folder) as cache``.
    """

    def __init__(self, folder: Path, journal: Journal | None) -> None:
        self.folder = folder
        self.damaged: list[Damage] = []
        """Lines that are no reply; they are passed over and left where they are."""
        self._journal = journal
        self._replies: dict[str, Reply] = {}
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

    @classmethod
    def read(cls, folder: Path) -> Self:
        """To read alone, as for ``--replay``: takes no lock, changes no byte."""
        return cls(folder, None)

    def get(self, key: str) -> Reply | None:
        """The last final reply under the key, else the last that is not final (a transport failure), else None."""
        return self._replies.get(key)

    def put(self, ask: Ask, reply: Reply) -> None:
        """Append ``reply`` to ``ask``; on the disk on return."""
        assert self._journal is not None, "opened to read alone"
        assert reply.key == ask.key
        about = {name: value for name, value in asdict(ask).items() if name != "messages"}
        self._journal.append({**asdict(reply), "asked": about})
        self._keep(reply)

    def __len__(self) -> int:
        """How many keys have a reply."""
        return len(self._replies)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Give the folder free."""
        if self._journal is not None:
            self._journal.close()

    def _keep(self, reply: Reply) -> None:
        before = self._replies.get(reply.key)
        if before is None or reply.final or not before.final:
            self._replies[reply.key] = reply


def _reply_of(line: dict[str, Any]) -> Reply:
    """The reply of a line; ValueError where it holds none."""
    told = {name: value for name, value in line.items() if name != "asked"}
    for name in _TEXTS:
        if not isinstance(told.get(name), str | None):
            raise ValueError(f"{name}: a text or null expected")
    for name in _NUMBERS:
        if not isinstance(told.get(name), int | None) or isinstance(told.get(name), bool):
            raise ValueError(f"{name}: a whole number or null expected")
    try:
        return Reply(**{**told, "adapted": tuple(told.get("adapted", ()))})
    except TypeError:
        raise ValueError("not a reply: fields are missing, unknown or of another type") from None
