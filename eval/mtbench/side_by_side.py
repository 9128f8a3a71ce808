"""Questions, the models' answers side by side, and what the judge gave them: the paper's appendix E as Markdown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from eval.mtbench.asks import Item
from eval.mtbench.hostile import markdown_cell
from eval.mtbench.scoring import Grade

__all__ = ["side_by_side"]


def side_by_side(items: Sequence[Item], grades: Sequence[Grade]) -> str:
    """A section a question, a table a turn, a column a model. Whatever was written by a model is shown as text."""
    told: dict[tuple[int, int, str, int], list[Grade]] = defaultdict(list)
    for grade in grades:
        told[grade.question_id, grade.turn, grade.model, grade.choice].append(grade)
    turns: dict[tuple[int, int], list[Item]] = defaultdict(list)
    for item in items:
        turns[item.question.question_id, item.turn].append(item)
    parts = ["# Answers side by side", ""]
    for (number, turn), row in sorted(turns.items()):
        question = row[0].question
        if turn == 1:
            parts += [f"## Question {number} ({markdown_cell(question.category)})", ""]
        parts += [f"Turn {turn}: {markdown_cell(question.turns[turn - 1])}", ""]
        parts += [_row([_named(item) for item in row]), "|" + " --- |" * len(row)]
        parts += [_row([_answer(item) for item in row])]
        parts += [_row([_verdict(told[number, turn, item.model, item.choice]) for item in row]), ""]
    return "\n".join(parts)


def _named(item: Item) -> str:
    choice = f" (choice {item.choice + 1})" if item.choice else ""
    return markdown_cell(f"{item.model}{choice}")


def _answer(item: Item) -> str:
    if item.answer is None:
        return "*no answer*"
    cut = {"stop": "", "length": "<br>*(cut by the token limit)*", "failed": "<br>*(failed)*"}
    text = "*(empty)*" if item.empty else markdown_cell(item.shown[-1])
    return text + cut[item.answer.endings[item.turn - 1]]


def _verdict(grades: Sequence[Grade]) -> str:
    scores = ", ".join(str(g.verdict.outcome) if g.score is None else f"{g.score:g}" for g in grades)
    said = grades[0].replies[-1].text if grades and grades[0].replies else None
    flagged = "<br>*carries marks that speak to the judge*" if grades and grades[0].marks else ""
    return f"**{markdown_cell(scores)}**{flagged}" + (f"<br>{markdown_cell(said)}" if said else "")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
