"""The result as people read it: tables on a console and as Markdown, from a record's result alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from eval.mtbench.hostile import markdown_cell, one_line, visible

__all__ = ["as_markdown", "calibration_table", "notes", "print_result", "print_tables", "tables"]

Rows = list[list[str]]


def tables(result: dict[str, Any]) -> list[tuple[str, Rows]]:
    """(title, rows with their heading first) of every table: scores, categories, differences."""
    models = result["models"]
    turns = list(dict.fromkeys(turn for model in models for turn in model["turns"]))
    categories = list(dict.fromkeys(name for model in models for name in model["categories"]))
    scores = [["model", "mean", *(f"turn {turn}" for turn in turns), "scored", "if the rest were 1 / 10", "unflagged"]]
    scores += [_score_row(model, turns) for model in models]
    by_category = [["category", *(one_line(model["model"], 40) for model in models)]]
    by_category += [[name, *(_interval(model["categories"].get(name)) for model in models)] for name in categories]
    told = [("Scores, 1 to 10, with 95% confidence intervals over questions", scores), ("By category", by_category)]
    if result["differences"]:
        rows = [["model", "from", "difference", "", "questions"], *map(_difference_row, result["differences"])]
        told.append(("Paired differences", rows))
    return told


def notes(result: dict[str, Any]) -> list[str]:
    """What the figures mean, and everything that is not an ordinary score."""
    said = [*result["labels"]]
    for model in result["models"]:
        name = one_line(model["model"], 40)
        other = {outcome: n for outcome, n in model["outcomes"].items() if outcome != "scored"}
        said += [f"{name}: {outcome}: {n} of {model['attempted']} judgments" for outcome, n in other.items()]
        said += [f"{name}: {n} {what}" for n, what in _counted(model) if n]
        if (spread := model["judge_spread"]) is not None:
            means = ", ".join(_number(mean) for mean in spread["means"])
            said.append(f"{name}: the judge against itself: sd {_number(spread['sd'])} on a turn; means {means}")
    return [*said, *result["policies"]]


def as_markdown(result: dict[str, Any]) -> str:
    """Tables, figure and notes; whatever a file or a model named is shown as text."""
    parts = ["# MT-Bench, single-answer grading", ""]
    for title, (heading, *rows) in tables(result):
        parts += [f"## {title}", "", _markdown_row(heading), "|" + " --- |" * len(heading)]
        parts += [*map(_markdown_row, rows), ""]
    parts += ["![Mean rating by category](scores.svg)", "", "## Notes", ""]
    parts += [f"- {markdown_cell(note)}" for note in notes(result)]
    return "\n".join([*parts, "", "Answers side by side: [answers.md](answers.md)", ""])


def calibration_table(result: dict[str, Any]) -> tuple[str, Rows]:
    """The one table of a calibration: how far the judge is from the scores that were known."""
    heading = ["", "known mean", "judge's mean", "bias", "mean absolute error", "rank correlation", "ratings"]
    told = {"all": result["all"], **{f"turn {turn}": own for turn, own in result["turns"].items()}}
    rows = [
        [
            name,
            _number(own["known_mean"]),
            _number(own["new_mean"]),
            _interval(own["bias"], signed=True),
            _interval(own["mean_absolute_error"]),
            _interval(own["rank_correlation"]),
            str(own["ratings"]),
        ]
        for name, own in told.items()
    ]
    return "Against known scores, with 95% confidence intervals over questions", [heading, *rows]


def print_result(console: Console, result: dict[str, Any]) -> None:
    """Tables and notes of a report on ``console``."""
    print_tables(console, tables(result), notes(result))


def print_tables(console: Console, told: Iterable[tuple[str, Rows]], lines: Iterable[str]) -> None:
    """A figure is never cut: tables too wide for a narrow terminal run on."""
    for title, (heading, *rows) in told:
        table = Table(title=Text(title), title_justify="left", pad_edge=False)
        for place, name in enumerate(heading):
            table.add_column(Text(visible(name)), justify="left" if place == 0 else "right", no_wrap=True)
        for row in rows:
            table.add_row(*(Text(visible(cell)) for cell in row))
        needed = console.measure(table, options=console.options.update(max_width=1000)).maximum
        console.width = max(console.width, needed)
        console.print(table)
    for line in lines:
        console.print(Text(visible(line)), soft_wrap=True)


def _score_row(model: dict[str, Any], turns: Sequence[str]) -> list[str]:
    flagged = f"{_interval(model['without_flagged'])} ({model['flagged']} flagged)" if model["flagged"] else "same"
    return [
        one_line(model["model"], 40),
        _interval(model["mean"]),
        *(_interval(model["turns"].get(turn)) for turn in turns),
        f"{model['scored']}/{model['attempted']}",
        f"{_number(model['worst_case'])} / {_number(model['best_case'])}",
        flagged,
    ]


def _difference_row(told: dict[str, Any]) -> list[str]:
    names = [one_line(told["model"], 40), one_line(told["from"], 40)]
    return [*names, _interval(told, signed=True), told["verdict"], str(told["questions"])]


def _counted(model: dict[str, Any]) -> Iterable[tuple[int, str]]:
    yield (
        model["flagged"],
        "judgments of answers that carry [[n]] or the prompt's delimiters (--harden neutralises them)",
    )
    yield model["reasked"], "verdicts without a rating were asked for it once more"
    yield model["cut_by_length"], "answers were cut by the token limit"
    yield model["failed_answers"], "answers failed in generation"
    yield model["mended_answers"], "answers held half a surrogate pair, which is no text: U+FFFD stands for it"


def _interval(told: dict[str, Any] | None, *, signed: bool = False) -> str:
    """``6.52 (6.10 to 6.93)``; n/a where nothing was scored, and for an interval of too few questions."""
    if told is None or told["value"] is None:
        return "n/a"
    sign = "+" if signed else ""
    ends = "n/a" if told["low"] is None else f"{told['low']:{sign}.2f} to {told['high']:{sign}.2f}"
    return f"{told['value']:{sign}.2f} ({ends})"


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(markdown_cell, cells)) + " |"
