"""Answer every question with a model, answer by answer, so that a stopped run goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from eval.mtbench.items import Answer, Question
from eval.mtbench.speaker import Speaker

__all__ = ["generate"]


def generate(
    speaker: Speaker,
    questions: Sequence[Question],
    *,
    path: Path,
    choices: int = 1,
    seed: int = 0,
    max_new_tokens: int = 1024,
    batch_size: int = 8,
    progress: Callable[[Answer], None] | None = None,
) -> list[Answer]:
    """An answer for each question and choice, those that ``path`` already holds not made again.

    Every answer is on the disk in ``path`` (FastChat's schema) before ``progress`` is told of it. Raises BadRequest
    where ``path`` holds answers made in another way, or another process is writing there.
    """
    raise NotImplementedError
