"""Answers in FastChat's ``model_answer`` schema, with each turn's ending beside it."""

from __future__ import annotations

from pathlib import Path

from eval.mtbench.items import Answer

__all__ = ["read_answers"]


def read_answers(path: Path) -> list[Answer]:
    """Every choice of every line, by question and choice; of two with the same place the later line counts.

    A file without endings (FastChat's own) is read as all ``stop``, but ``failed`` where FastChat wrote ``ERROR``.
    Raises BadRequest naming the line of what does not fit, and for answers of several models.
    """
    raise NotImplementedError
