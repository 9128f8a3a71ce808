"""Answers in FastChat's ``model_answer`` schema, with each turn's ending beside it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, get_args

from bench.errors import BadRequest
from eval.mtbench.items import Answer, Ending
from eval.mtbench.journal import Journal, read_journal
from eval.mtbench.jsonl import MENDED, read_objects

__all__ = ["AnswerFile", "read_answers"]

_ENDINGS: tuple[Ending, ...] = get_args(Ending)
# What FastChat writes for a turn that its model or service failed at (gen_model_answer.py; common.py:
# API_ERROR_OUTPUT).
_FASTCHAT_FAILED = ("ERROR", "$ERROR$")


def read_answers(path: Path) -> list[Answer]:
    """Every choice of every line, by question and choice; of two with the same place the later line counts.

    A file without endings (FastChat's own) is read as all ``stop``, but ``failed`` where FastChat wrote ``ERROR``.
    Raises BadRequest naming the line of what does not fit, for answers of several models, and where there is none.
    """
    answers: dict[tuple[int, int], Answer] = {}
    for place, line in read_objects(path):
        for answer in _answers_of(line, place):
            answers[answer.question_id, answer.choice] = answer
    models = {answer.model for answer in answers.values()}
    if len(models) != 1:
        told = f"those of {len(models)} models" if models else "none"
        raise BadRequest(f"{str(path)!r}: the answers of one model are needed, got {told}; give each model its file")
    return [answers[place] for place in sorted(answers)]


class AnswerFile:
    """Answers of one model, made in one way, appended as they come; on the disk when ``put`` returns.

    A line holds all choices of its question so far, and the last line of a question counts: FastChat reads it so
    (``load_model_answers``), and nothing is ever rewritten. Use as a context manager.
    """

    def __init__(self, journal: Journal, *, model: str, made_by: str) -> None:
        self.answers: dict[tuple[int, int], Answer] = {}
        """(question_id, choice) -> what is there already."""
        self._journal = journal
        self._model = model
        self._made_by = made_by
        lines, _ = read_journal(journal.path)  # what is damaged is made again
        for number, line in lines:
            if line.get("made_by") != made_by:
                raise BadRequest(
                    f"{str(journal.path)!r} holds answers of another model, template or setting (line {number}); "
                    f"give another --out, or move the file away"
                )
            for answer in _answers_of(line, f"{journal.path.name}, line {number}"):
                self.answers[answer.question_id, answer.choice] = answer

    @classmethod
    def open(cls, path: Path, *, model: str, made_by: str) -> Self:
        """``made_by``: a fingerprint of all that the answers depend on.

        Raises BadRequest where the file holds answers made otherwise, or another process is writing it.
        """
        journal = Journal.open(path)
        try:
            return cls(journal, model=model, made_by=made_by)
        except BadRequest:
            journal.close()
            raise

    def put(self, answer: Answer) -> None:
        """Append one answer."""
        assert answer.model == self._model
        self.answers[answer.question_id, answer.choice] = answer
        choices = sorted(choice for question, choice in self.answers if question == answer.question_id)
        self._journal.append(
            {
                "question_id": answer.question_id,
                "answer_id": hashlib.sha256(f"{self._made_by}/{answer.question_id}".encode()).hexdigest()[:22],
                "model_id": self._model,
                "choices": [_choice_of(self.answers[answer.question_id, choice]) for choice in choices],
                "tstamp": time.time(),
                "made_by": self._made_by,
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()


def _choice_of(answer: Answer) -> dict[str, Any]:
    told = {"index": answer.choice, "turns": list(answer.turns), "endings": list(answer.endings)}
    return {**told, MENDED: True} if answer.mended else told


def _answers_of(line: Mapping[str, Any], place: str) -> list[Answer]:
    """The choices of one line; BadRequest where it is not FastChat's schema."""
    question, model, choices = line.get("question_id"), line.get("model_id"), line.get("choices")
    if not isinstance(question, int) or isinstance(question, bool):
        raise BadRequest(f"{place}: question_id, a whole number, is needed")
    if not isinstance(model, str) or not model:
        raise BadRequest(f"{place}: model_id, the name of the model, is needed")
    if not isinstance(choices, list) or not choices:
        raise BadRequest(f"{place}: choices, a list of {{index, turns}}, is needed")
    answers: dict[int, Answer] = {}
    for position, choice in enumerate(choices):
        answer = _answer_of(choice, position, question, model, place)
        if answers.setdefault(answer.choice, answer) is not answer:
            raise BadRequest(f"{place}: two choices have the index {answer.choice}")
    return list(answers.values())


def _answer_of(choice: object, position: int, question: int, model: str, place: str) -> Answer:
    told = choice if isinstance(choice, dict) else {}
    index, turns = told.get("index", position), told.get("turns")
    if not isinstance(index, int) or isinstance(index, bool) or index < 0:
        raise BadRequest(f"{place}: the index of a choice must be a whole number from 0")
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, str) for turn in turns):
        raise BadRequest(f"{place}: choices[{position}].turns, a list of texts, is needed")
    endings = told.get("endings", ["failed" if turn in _FASTCHAT_FAILED else "stop" for turn in turns])
    if not isinstance(endings, list) or len(endings) != len(turns) or not all(end in _ENDINGS for end in endings):
        raise BadRequest(f"{place}: choices[{position}].endings must be one of {', '.join(_ENDINGS)} for each turn")
    return Answer(
        question_id=question,
        model=model,
        choice=index,
        turns=tuple(turns),
        endings=tuple(endings),
        mended=told.get(MENDED) is True,
    )
