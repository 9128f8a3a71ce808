"""FastChat's single-answer judgments: each model's mean rating, as the file's own judge gave it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from eval.mtbench.intervals import mean_interval
from eval.mtbench.parsing import HIGHEST, LOWEST
from eval.mtbench.verify import Judgment, read_judgments
from reports.document import Table
from reports.tables.cells import amount, label, number_column, text_column

__all__ = ["judgment_rows", "judgment_table"]

Row = tuple[str, int, int, float | None, float | None, float | None]
"""model, scored, attempted, mean, low, high."""


def judgment_rows(path: Path) -> list[Row]:
    """The mean over questions of each model, with its 95% interval; BadRequest for a file of another format.

    A question's rating is the mean over its turns; -1, and anything off the scale, is unscored.
    """
    by_model: dict[str, list[Judgment]] = defaultdict(list)
    for judgment in read_judgments(path):
        by_model[judgment.model].append(judgment)
    return [_row(model, by_model[model]) for model in sorted(by_model)]


def _row(model: str, judgments: Sequence[Judgment]) -> Row:
    questions: dict[int, list[float]] = defaultdict(list)
    for judgment in judgments:
        if LOWEST <= judgment.score <= HIGHEST:
            questions[judgment.question_id].append(judgment.score)
    found = mean_interval(np.array([fmean(scores) for scores in questions.values()]))
    scored = sum(map(len, questions.values()))
    return model, scored, len(judgments), found.value, found.low, found.high


def judgment_table(name: str, rows: Sequence[Row], id: str) -> Table:
    """One file's models; files of several judges cannot be told apart, and are not compared."""
    return Table(
        id=id,
        title=f"FastChat's judgments, {name}",
        columns=(
            text_column("model"),
            number_column("rating", "1 to 10", "95% CI over questions"),
            number_column("scored"),
            number_column("attempted"),
        ),
        rows=tuple(
            (
                label(model),
                amount(mean, ".2f", interval=None if low is None or high is None else f"[{low:.2f}, {high:.2f}]"),
                amount(scored, ",.0f"),
                amount(attempted, ",.0f"),
            )
            for model, scored, attempted, mean, low, high in rows
        ),
        notes=("A rating without a question scored is n/a; the judge is whoever made the file.",),
    )
