"""A whole command of ``eval.glue``, and a judge held against known scores, as tables."""

from __future__ import annotations

from reports.behind import behind
from reports.document import Cell, Detail, Samples, Table
from reports.reading.compared import Compared, ComparedRow
from reports.reading.judge_checks import Agreement, Ends, JudgeCheck
from reports.reading.settings import model_called
from reports.tables.cells import absent, amount, label, number_column, text_column
from reports.tables.quality import AS_FILED, difference_cell

__all__ = ["compared_table", "judge_check_table"]


def compared_table(one: Compared, id: str) -> Table:
    """Every task, split and method with the verdict of the whole command, and what choosing its rate cost."""
    forgot = any(row.forgetting is not None for row in one.rows)
    tasks = ", ".join(dict.fromkeys(row.task for row in one.rows))
    equal = "" if one.budget is None else f", equal {one.budget}"
    return Table(
        id=id,
        title=f"One command's verdicts over {tasks}: {model_called(one.record)}{equal}",
        columns=(
            text_column("task"),
            text_column("split"),
            text_column("method"),
            number_column("rate"),
            number_column("score", "points", "mean over seeds"),
            number_column(f"difference to {one.reference}", "points", "95% CI over other items and seeds; ~: a tie"),
            number_column("p", note="Holm over the whole command"),
            number_column("over one answer", "points", "lower 95% end of its score over that of one answer to all"),
            number_column("trials"),
            number_column("trials", "s", "training of those that chose the rate"),
            *((number_column("forgetting", "nats a token", "rise of the loss on other text"),) if forgot else ()),
        ),
        rows=tuple(_row(one, row, forgot=forgot) for row in one.rows),
        notes=(
            "Where a score is not above one answer given to all, a tie with it says nothing.",
            *((AS_FILED,) if one.as_filed else ()),
        ),
    )


def _row(one: Compared, row: ComparedRow, *, forgot: bool) -> tuple[Cell, ...]:
    values = tuple(100 * value for value in row.by_seed)
    own = behind([one.source], [Samples(name=f"{row.method}: difference, by seed", unit="points", values=values)])
    difference = absent("the reference itself, or nothing to pair")
    if row.difference is not None:
        difference = difference_cell(row.difference, row.low, row.high, tie=row.verdict == "~", detail=own)
    cells = (
        label(row.task),
        label(row.split),
        label(row.method),
        amount(row.lr, "g", detail=own),
        amount(None if row.mean is None else 100 * row.mean, ".1f", detail=own),
        difference,
        amount(row.p_holm, ".2g", detail=own),
        amount(None if row.over_constant is None else 100 * row.over_constant, "+.1f", detail=own),
        amount(row.trials, ",.0f", detail=own),
        amount(row.trials_s, ",.0f", detail=own),
    )
    return (*cells, _ends_cell((row.forgetting, *row.forgetting_ends), "+.3f", own)) if forgot else cells


def judge_check_table(one: JudgeCheck, id: str) -> Table:
    """How far the judge is from the scores that were known."""
    return Table(
        id=id,
        title=f"{one.judge} against known scores",
        columns=(
            text_column("ratings of"),
            number_column("known mean", "1 to 10"),
            number_column("judge's mean", "1 to 10"),
            number_column("bias", note="95% CI over questions"),
            number_column("mean absolute error"),
            number_column("rank correlation"),
            number_column("ratings"),
        ),
        rows=tuple(_agreement(one, row) for row in one.rows),
        notes=one.notes,
    )


def _agreement(one: JudgeCheck, row: Agreement) -> tuple[Cell, ...]:
    own = behind([one.source])
    return (
        label(row.name),
        amount(row.known_mean, ".2f", detail=own),
        amount(row.new_mean, ".2f", detail=own),
        _ends_cell(row.bias, "+.2f", own),
        _ends_cell(row.mean_absolute_error, ".2f", own),
        _ends_cell(row.rank_correlation, ".2f", own),
        amount(row.ratings, ",.0f", detail=own),
    )


def _ends_cell(told: Ends, form: str, own: Detail) -> Cell:
    value, low, high = told
    ends = None if low is None or high is None else f"[{low:{form}}, {high:{form}}]"
    return amount(value, form, interval=ends, detail=own)
