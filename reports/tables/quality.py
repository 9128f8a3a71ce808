"""Fine-tuning and judging as tables: scores, paired differences with intervals, ties called ties."""

from __future__ import annotations

from typing import Any

from reports.behind import behind, noted
from reports.document import Cell, CellStatus, Detail, Samples, Table
from reports.reading.judged import JudgedRun
from reports.reading.quality import Comparison, nothing_learned
from reports.reading.settings import setting_of
from reports.tables.cells import MIB, absent, amount, count_cell, failure, label, number_column, text_column

__all__ = ["AS_FILED", "difference_cell", "judged_table", "quality_table", "reasons", "score_cell"]

AS_FILED = "As the command filed it: its runs are not all at hand, or do not fit, to tell it again from them."


def quality_table(one: Comparison, id: str) -> Table:
    """Every method of one task, and its paired difference to the reference."""
    reference = one.reference()
    rows = one.rows(reference)
    metrics = list(rows[0]["metrics"])
    return Table(
        id=id,
        title=f"Quality, {one.task}: {setting_of(one.record)}",
        columns=(
            text_column("method"),
            text_column("split"),
            number_column("rate"),
            *(number_column(name, "points", "mean over seeds, with their standard deviation") for name in metrics),
            number_column(f"difference to {reference}", "points", "95% CI over other items and seeds; ~: a tie"),
            number_column("p", note="Holm over this table"),
            number_column("lower bound", "points", "one-sided 95%"),
            number_column("could see", "points", "smallest true difference found four times out of five"),
            number_column("trainable", "parameters"),
            number_column("updated", "parameters a step"),
            number_column("adapter", "MiB"),
            number_column("peak", "MiB"),
            number_column("training", "s"),
        ),
        rows=tuple(_quality_row(one, row, metrics) for row in rows),
        notes=(*_quality_notes(one, rows), *noted(run.source for own in one.runs.values() for run in own)),
    )


def _quality_row(one: Comparison, row: dict[str, Any], metrics: list[str]) -> tuple[Cell, ...]:
    sources = [run.source for run in one.runs[row["method"]]]
    scores = [score_cell(row["metrics"][name], f"{row['method']}: {name}, by seed", sources) for name in metrics]
    if not row["seeds"]:
        scores = [failure(row["status"], reasons(row))] * len(metrics)
    told = row["difference"]
    own = behind(sources)
    return (
        label(row["method"]),
        label(row["split"]),
        amount(row["lr"], "g", detail=own),
        *scores,
        *difference_cells(told, row["verdict"], sources),
        count_cell(row["trainable_parameters"], detail=own),
        count_cell(row["updated_parameters"], detail=own),
        amount(None if row["adapter_bytes"] is None else row["adapter_bytes"] / MIB, ",.2f", detail=own),
        amount(None if row["peak_bytes"] is None else row["peak_bytes"] / MIB, ",.1f", detail=own),
        amount(row["train_s"], ",.0f", detail=own),
    )


def reasons(row: dict[str, Any]) -> str:
    """Why a method has no score, of all its seeds."""
    return "; ".join(str(told["reason"]) for told in row["failures"])


def score_cell(told: dict[str, Any], name: str, sources: list[Any]) -> Cell:
    """Mean over seeds in points, with their standard deviation; ``told``: ``mean``, ``sd`` and ``by_seed``."""
    values = tuple(100 * value for value in told["by_seed"])
    spread = None if told["sd"] is None else f"± {100 * told['sd']:.1f}"
    detail = behind(sources, [Samples(name=name, unit="points", values=values)], "mean over seeds")
    return amount(None if told["mean"] is None else 100 * told["mean"], ".1f", detail=detail, interval=spread)


def difference_cells(told: dict[str, Any] | None, verdict: str | None, sources: list[Any]) -> list[Cell]:
    """Difference, p by Holm, lower bound, smallest difference that could be seen."""
    if told is None:
        return [absent("the reference itself, or nothing to pair") for _ in range(4)]
    values = tuple(100 * value for value in told["by_seed"])
    samples = [Samples(name="difference, by seed", unit="points", values=values)]
    detail = behind(sources, samples, "mean over seeds; items by bootstrap, seeds by their spread")
    return [
        difference_cell(told["mean"], told["low"], told["high"], tie=verdict == "~", detail=detail),
        amount(told["p_holm"], ".2g", detail=detail),
        amount(None if told["lower_bound"] is None else 100 * told["lower_bound"], "+.1f", detail=detail),
        amount(None if told["detectable"] is None else 100 * told["detectable"], ".1f", detail=detail),
    ]


def difference_cell(
    mean: float, low: float | None, high: float | None, *, tie: bool, detail: Detail | None = None
) -> Cell:
    """A difference in points (hundredths given) with its interval; an open end is infinite."""
    ends = ["-inf" if low is None else f"{100 * low:+.1f}", "+inf" if high is None else f"{100 * high:+.1f}"]
    return Cell(
        text=f"{100 * mean:+.1f}",
        sort=100 * mean,
        status=CellStatus.NOISE if tie else CellStatus.OK,
        interval=f"[{ends[0]}, {ends[1]}]",
        reason="a tie: p above 0.05 by Holm" if tie else None,
        detail=detail,
    )


def _quality_notes(one: Comparison, rows: list[dict[str, Any]]) -> list[str]:
    seeds = max((len(row["seeds"]) for row in rows), default=0)
    notes = [
        f"Points: hundredths of the metric, over {seeds} seed{'s' if seeds != 1 else ''}, paired by item and seed."
    ]
    if seeds == 1:
        notes.append("One seed tells nothing of other seeds: intervals are infinite.")
    notes += nothing_learned(rows)
    notes += [f"Left out: {told}." for told in one.left_out]
    notes += [
        f"{row['method']}, seed {told['seed']}: {told['status']}: {told['reason']}"
        for row in rows
        for told in row["failures"]
    ]
    return notes


def judged_table(run: JudgedRun, id: str) -> Table:
    """Each model's mean rating by one judge, and its paired difference to the first."""
    to_first = {model: (first, value, low, high, told) for model, first, value, low, high, told in run.differences}
    rows = []
    for rating in run.ratings:
        interval = None if rating.low is None or rating.high is None else f"[{rating.low:.2f}, {rating.high:.2f}]"
        ratings = Samples(name=f"{rating.model}: by question", unit="1 to 10", values=run.by_question(rating.model))
        own = behind([run.source], [ratings] if ratings.values else [], "mean over questions")
        rows.append(
            (
                label(rating.model),
                amount(rating.mean, ".2f", interval=interval, detail=own),
                _judged_difference(run, rating.model, *to_first.get(rating.model, ("", None, None, None, ""))),
                amount(rating.questions, ",.0f", detail=own),
                amount(rating.scored, ",.0f", detail=own),
                amount(rating.attempted, ",.0f", detail=own),
            )
        )
    return Table(
        id=id,
        title=f"MT-Bench ({run.questions}), single-answer grading by {run.judge}",
        columns=(
            text_column("model"),
            number_column("rating", "1 to 10", "95% CI over questions"),
            number_column("difference to the first", note="paired over questions; ~: a tie"),
            number_column("questions"),
            number_column("scored"),
            number_column("attempted"),
        ),
        rows=tuple(rows),
        notes=(*run.labels, *noted([run.source])),
    )


def _judged_difference(
    run: JudgedRun, model: str, first: str, value: float | None, low: float | None, high: float | None, told: str
) -> Cell:
    if value is None:
        return absent("the first itself, or nothing to pair")
    gaps = Samples(name=f"{model} minus {first}, by question", unit="points of 10", values=run.gaps((model,), (first,)))
    return Cell(
        text=f"{value:+.2f}",
        sort=value,
        status=CellStatus.NOISE if told == "~" else CellStatus.OK,
        interval=None if low is None or high is None else f"[{low:+.2f}, {high:+.2f}]",
        detail=behind([run.source], [gaps] if gaps.values else [], "mean over questions"),
    )
