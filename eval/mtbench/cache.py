"""Every reply of the judge, by the key of what was asked; appended, on the disk before it counts."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from eval.mtbench.items import Ask, Reply

__all__ = ["ReplyCache"]


class ReplyCache:
    """``<folder>/replies.jsonl``. Use as a context manager: ``with ReplyCache.open(folder) as cache``."""

    damaged: list[tuple[int, str]]
    """(line number, what is wrong) of lines that are no reply; they are passed over and left where they are."""

    @classmethod
    def open(cls, folder: Path) -> Self:
        """To read and append; makes the folder, heals a torn last line. BadRequest where another process has it open."""
        raise NotImplementedError

    @classmethod
    def read(cls, folder: Path) -> Self:
        """To read alone, as for ``--replay``: takes no lock, changes no byte."""
        raise NotImplementedError

    def get(self, key: str) -> Reply | None:
        """The last final reply under the key, else the last that is not final (a transport failure), else None."""
        raise NotImplementedError

    def put(self, ask: Ask, reply: Reply) -> None:
        """Append and fsync. A key that has a final reply takes no other: ValueError."""
        raise NotImplementedError

    def __len__(self) -> int:
        """How many keys have a reply."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Give the folder free."""
        raise NotImplementedError
