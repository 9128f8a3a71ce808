"""The figures of a report, from grades alone: no model, clock or network. All are JSON types; not scored is None."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

import numpy as np

from eval.mtbench.intervals import Interval, bootstrap, mean_interval
from eval.mtbench.parsing import HIGHEST, LOWEST
from eval.mtbench.scoring import Grade

__all__ = ["Summary", "summarise"]

_CATEGORIES = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")
Mean = Callable[[Sequence[Grade]], Interval]
Filled = Callable[[Sequence[Grade], float], float]
Summary = dict[str, Any]
"""``models``: one a model, in the order given. ``differences``: each further model against the first, paired."""


def summarise(grades: Sequence[Grade], *, fastchat: bool = False, seed: int = 0) -> Summary:
    """The figures of all models.

    A turn's score is the mean over repeats, a question's the mean over its scored turns and choices, a model's the mean
    over questions. With ``fastchat`` a model's is the mean over scored rows, as its ``show_result.py`` has it; the two
    agree where every row is scored. ``worst_case`` and ``best_case`` are the same kind of mean, over questions or rows,
    had every judgment without a score come out as 1, or as 10.
    """

    def mean(given: Sequence[Grade]) -> Interval:
        return _mean_of_rows(given, seed) if fastchat else _mean_of_questions(given, seed)

    models = _grouped(grades, lambda grade: grade.model)
    first = next(iter(models), None)
    return {
        "models": [
            {"model": name, **_figures(own, mean, _filled_rows if fastchat else _filled_questions)}
            for name, own in models.items()
        ],
        "differences": [
            {"model": name, "from": first, **_difference(own, models[first], seed)}
            for name, own in models.items()
            if first is not None and name != first
        ],
    }


def _figures(grades: Sequence[Grade], mean: Mean, filled: Filled) -> dict[str, Any]:
    scored = [grade for grade in grades if grade.score is not None]
    unflagged = [grade for grade in grades if not grade.marks]
    turns = _grouped(grades, lambda grade: grade.turn)
    categories = _grouped(grades, lambda grade: grade.category)
    return {
        "mean": asdict(mean(grades)),
        "turns": {str(turn): asdict(mean(own)) for turn, own in sorted(turns.items())},
        "categories": {name: asdict(mean(categories[name])) for name in sorted(categories, key=_category_order)},
        "attempted": len(grades),
        "scored": len(scored),
        "coverage": len(scored) / len(grades),
        "worst_case": filled(grades, LOWEST),
        "best_case": filled(grades, HIGHEST),
        "outcomes": dict(sorted(Counter(str(grade.verdict.outcome) for grade in grades).items())),
        "flagged": len(grades) - len(unflagged),
        "without_flagged": asdict(mean(unflagged)),
        "reasked": sum(grade.reasked for grade in grades),
        "cut_by_length": _items_ending(grades, "length"),
        "failed_answers": _items_ending(grades, "failed"),
        "mended_answers": len({(grade.question_id, grade.choice) for grade in grades if grade.mended}),
        "judge_spread": _spread(grades),
    }


def _question_means(grades: Iterable[Grade]) -> dict[int, float]:
    """The mean of each question that has a score; repeats of one turn first."""
    turns: dict[tuple[int, int, int], list[float]] = defaultdict(list)
    for grade in grades:
        if grade.score is not None:
            turns[grade.question_id, grade.choice, grade.turn].append(grade.score)
    questions: dict[int, list[float]] = defaultdict(list)
    for (question, _, _), scores in turns.items():
        questions[question].append(fmean(scores))
    return {question: fmean(means) for question, means in questions.items()}


def _mean_of_questions(grades: Sequence[Grade], seed: int) -> Interval:
    return mean_interval(np.array(list(_question_means(grades).values())), seed=seed)


def _mean_of_rows(grades: Sequence[Grade], seed: int) -> Interval:
    """FastChat's mean over rows whose score is not -1; questions are still what is drawn."""
    rows = _grouped((grade for grade in grades if grade.score is not None), lambda grade: grade.question_id)
    sums = np.array([sum(grade.score or 0.0 for grade in own) for own in rows.values()])
    counts = np.array([len(own) for own in rows.values()])
    return bootstrap(len(rows), lambda drawn: sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), seed=seed)


def _filled_rows(grades: Iterable[Grade], score: float) -> float:
    """The mean over rows, had every unscored judgment come out as ``score``."""
    return fmean(score if grade.score is None else grade.score for grade in grades)


def _filled_questions(grades: Sequence[Grade], score: float) -> float:
    """The same over questions."""
    questions = _grouped(grades, lambda grade: grade.question_id)
    return fmean(_filled_rows(own, score) for own in questions.values())


def _difference(grades: Sequence[Grade], base: Sequence[Grade], seed: int) -> dict[str, Any]:
    """Mean over questions of the difference on the turns that both models have scores for."""
    ours, theirs = (_grouped((g for g in given if g.score is not None), _place) for given in (grades, base))
    both = ours.keys() & theirs.keys()
    questions: dict[int, list[float]] = defaultdict(list)
    for place in sorted(both):
        gap = fmean(g.score or 0.0 for g in ours[place]) - fmean(g.score or 0.0 for g in theirs[place])
        questions[place[0]].append(gap)
    interval = mean_interval(np.array([fmean(gaps) for gaps in questions.values()]), seed=seed)
    return {**asdict(interval), "turns": len(both), "verdict": _verdict(interval)}


def _verdict(interval: Interval) -> str:
    """higher or lower where the interval is clear of 0, else ~."""
    if interval.low is None or interval.high is None or interval.low <= 0 <= interval.high:
        return "~"
    return "higher" if interval.low > 0 else "lower"


def _spread(grades: Sequence[Grade]) -> dict[str, Any] | None:
    """How far the judge is from itself: None where it was asked once.

    ``sd``: standard deviation between repeats on one turn, pooled over turns. ``means``: the model's mean by repeat.
    """
    repeats = _grouped(grades, lambda grade: grade.repeat)
    if len(repeats) < 2:
        return None
    turns = _grouped((grade for grade in grades if grade.score is not None), _place)
    scores = [[grade.score or 0.0 for grade in own] for own in turns.values() if len(own) > 1]
    freedom = sum(len(own) - 1 for own in scores)
    squares = sum((x - fmean(own)) ** 2 for own in scores for x in own)
    means = [_question_means(own) for own in repeats.values()]
    return {
        "sd": math.sqrt(squares / freedom) if freedom else None,
        "means": [fmean(own.values()) if own else None for own in means],
    }


def _place(grade: Grade) -> tuple[int, int, int]:
    return grade.question_id, grade.choice, grade.turn


def _items_ending(grades: Sequence[Grade], ending: str) -> int:
    """Turns, not judgments: a repeat is no further answer."""
    return len({_place(grade) for grade in grades if grade.ending == ending})


def _category_order(name: str) -> tuple[int, str]:
    """MT-Bench's own order, then the alphabet."""
    return (_CATEGORIES.index(name) if name in _CATEGORIES else len(_CATEGORIES)), name


def _grouped(grades: Iterable[Grade], by: Callable[[Grade], Any]) -> dict[Any, list[Grade]]:
    """In order of first appearance."""
    groups: dict[Any, list[Grade]] = defaultdict(list)
    for grade in grades:
        groups[by(grade)].append(grade)
    return dict(groups)
