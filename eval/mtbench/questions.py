"""Question files and reference answers in FastChat's schema, and which reference a judged turn is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from bench.errors import BadRequest
from eval.mtbench.items import Question
from eval.mtbench.jsonl import MENDED, read_objects

__all__ = ["NEEDS_REFERENCE", "POLICIES", "Policy", "read_questions", "read_references", "under_policy", "without"]

# Graded against a reference answer (FastChat, llm_judge/common.py: NEED_REF_CATS).
NEEDS_REFERENCE = frozenset({"math", "reasoning", "coding"})

Policy = Literal["inf", "gpt-4", "per-turn-fallback"]
"""inf: the references inside the question file, as MT-Bench Inf carries them. gpt-4: the file of GPT-4's answers, as
FastChat does. per-turn-fallback: the first, and for each turn where that has none the second."""
POLICIES: tuple[Policy, ...] = get_args(Policy)

_MOST_TURNS = 2  # what the judge's templates can show


def read_questions(path: Path) -> list[Question]:
    """The questions of a file, with the references that stand in it: MT-Bench, MT-Bench Inf, Vicuna or one's own.

    A reference that is absent, null or empty is None. Raises BadRequest naming the line of what does not fit.
    """
    questions: dict[int, Question] = {}
    for place, told in read_objects(path):
        question = _question(place, told)
        if question.question_id in questions:
            raise BadRequest(f"{place}: question_id {question.question_id} stands there twice; each needs its own")
        questions[question.question_id] = question
    if not questions:
        raise BadRequest(f"{str(path)!r} holds no question; give a file in FastChat's schema, one JSON object a line")
    return list(questions.values())


def read_references(path: Path) -> dict[int, tuple[str, ...]]:
    """Reference answers by question, from a file of model answers (``choices[0].turns``)."""
    references = {}
    for place, told in read_objects(path):
        try:
            if not isinstance(number := told["question_id"], int):
                raise ValueError(place)
            references[number] = _texts(told["choices"][0]["turns"])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise BadRequest(f"{place}: question_id and choices[0].turns (texts) are needed") from error
    return references


def under_policy(
    questions: Sequence[Question], policy: Policy, gpt4: Mapping[int, tuple[str, ...]] | None
) -> list[Question]:
    """The questions with the references that ``policy`` gives them; ``gpt4`` where the policy needs it."""
    if policy == "inf":
        return list(questions)
    assert gpt4 is not None
    given = []
    for question in questions:
        theirs = tuple(gpt4.get(question.question_id, ()))
        padded = tuple(text or None for text in theirs[: len(question.turns)])
        padded += (None,) * (len(question.turns) - len(padded))
        if policy == "per-turn-fallback":
            padded = tuple(own or other for own, other in zip(question.references, padded, strict=True))
        given.append(replace(question, references=padded))
    return given


def without(questions: Sequence[Question]) -> list[tuple[int, int]]:
    """(question, turn) that should be graded against a reference and has none: graded by the general prompt."""
    return [
        (question.question_id, turn)
        for question in questions
        if question.category in NEEDS_REFERENCE
        for turn in range(1, len(question.turns) + 1)
        if not all(question.references[:turn])
    ]


def _question(place: str, told: Mapping[str, Any]) -> Question:
    number, category = told.get("question_id"), told.get("category")
    if not isinstance(number, int) or isinstance(number, bool):
        raise BadRequest(f"{place}: question_id, a whole number, is needed")
    if not isinstance(category, str) or not category:
        raise BadRequest(f"{place}: category, a text such as writing, is needed")
    try:
        turns = _texts(told.get("turns"))
        references = _texts(told.get("reference") or ())
    except ValueError as error:
        raise BadRequest(f"{place}: {error}") from error
    if not 1 <= len(turns) <= _MOST_TURNS or not all(turns):
        raise BadRequest(f"{place}: turns must be one or two texts that are not empty, got {len(turns)}")
    if len(references) > len(turns):
        raise BadRequest(f"{place}: {len(references)} references for {len(turns)} turns; give one a turn at most")
    padded = tuple(text or None for text in references) + (None,) * (len(turns) - len(references))
    return Question(
        question_id=number, category=category, turns=turns, references=padded, mended=told.get(MENDED) is True
    )


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"a list of texts is needed for turns and reference, got {type(value).__name__}")
    return tuple(value)
