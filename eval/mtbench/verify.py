"""Judgments that FastChat made, checked: is each prompt one that we would send, and each score one that we would read?

A judgment file holds the prompt that was sent but not the answer, so the answer is what stands in the prompt between
the parts that are known; the prompt is then built anew from question and answer, and must be the same to the byte.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.errors import BadRequest
from eval.mtbench.items import Question
from eval.mtbench.jsonl import read_objects
from eval.mtbench.parsing import read_score, read_score_as_fastchat
from eval.mtbench.prompts import Prompt, Prompts, messages, prompt_of

__all__ = ["Checked", "Edition", "Judgment", "check", "read_judgments"]

_UNSCORED = -1.0
# FastChat takes any number in brackets for a rating, a year as well; beyond this it is damage.
_HIGHEST = 1e6


@dataclass(frozen=True, kw_only=True)
class Judgment:
    """One line of a FastChat judgment file; what else stands in the line is passed over."""

    place: str
    question_id: int
    model: str
    turn: int
    user_prompt: str
    judgment: str
    score: float
    """-1 where FastChat read none."""
    judge: str
    """As the file names it, which tells no version; ``unknown`` where it does not."""


Edition = Mapping[int, Question]
"""Questions with one edition's references, by id."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What came of one judgment. The scores' fields are None where they agree, else say how they differ."""

    judgment: Judgment
    question: Question | None
    """With the references shown; None where question and answer do not give the prompt back to the byte."""
    answers: tuple[str, ...]
    exception: str | None
    """Why not, or what had to be taken from the prompt itself; None for an edition at hand."""
    fastchat_score: str | None
    score: str | None
    """Our own reading, which may differ from FastChat's by design."""

    @property
    def rebuilt(self) -> bool:
        """Question and answer gave the prompt back to the byte."""
        return self.question is not None

    @property
    def reproduced(self) -> bool:
        """Prompt and score as FastChat had them."""
        return self.rebuilt and self.fastchat_score is None


def read_judgments(path: Path) -> list[Judgment]:
    """The lines of a file of single-answer judgments; BadRequest for a line that is none, and where none is."""
    judgments = []
    for place, told in read_objects(path):
        try:
            judgments.append(_judgment(place, told))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise BadRequest(
                f"{place}: no single-answer judgment of FastChat: question_id, model, turn, user_prompt, judgment and "
                "score are needed"
            ) from error
    if not judgments:
        raise BadRequest(f"{str(path)!r} holds no judgment; give a file of FastChat's, one JSON object a line")
    return judgments


def check(judgment: Judgment, prompts: Prompts, editions: Sequence[Edition]) -> Checked:
    """Build the prompt anew and read the score again."""
    question, answers, exception = _rebuild(judgment, prompts, editions)
    theirs = read_score_as_fastchat(judgment.judgment)
    ours = read_score(judgment.judgment, answers)
    read = _UNSCORED if ours.score is None else ours.score
    return Checked(
        judgment=judgment,
        question=question,
        answers=answers,
        exception=exception,
        fastchat_score=None if theirs == judgment.score else f"stored {judgment.score:g}, FastChat reads {theirs:g}",
        score=None if read == judgment.score else f"stored {judgment.score:g}, ours: {ours.score or ours.detail}",
    )


def _rebuild(
    judgment: Judgment, prompts: Prompts, editions: Sequence[Edition]
) -> tuple[Question | None, tuple[str, ...], str | None]:
    """(question, answers, exception): the strictest reading of the prompt that gives it back to the byte."""
    at_hand = [edition[judgment.question_id] for edition in editions if judgment.question_id in edition]
    for question in at_hand:
        if (answers := _answers(judgment, prompts, question)) is not None:
            return question, answers, None
    for question in at_hand:
        prompt = prompt_of(prompts, question, judgment.turn)
        shown = _fields(prompt, judgment.user_prompt, _known(question, ()))
        if shown is not None:
            other = replace(question, references=_numbered(shown, "ref_answer") or question.references)
            if (answers := _answers(judgment, prompts, other)) is not None:
                return other, answers, "a reference answer of no edition at hand"
    for prompt in prompts.values():
        if (shown := _fields(prompt, judgment.user_prompt, {})) is not None:
            answers = _numbered(shown, "answer") or (shown["answer"],)
            known = "another prompt or question than the protocol's" if at_hand else "a question of no edition at hand"
            return None, answers, f"{prompt.name}, {known}"
    return None, (), "fits none of the four prompts"


def _answers(judgment: Judgment, prompts: Prompts, question: Question) -> tuple[str, ...] | None:
    """The answers in the prompt, if it is what we would send about them."""
    if judgment.turn > len(question.turns):
        return None
    prompt = prompt_of(prompts, question, judgment.turn)
    shown = _fields(prompt, judgment.user_prompt, _known(question, question.references))
    if shown is None:
        return None
    answers = _numbered(shown, "answer") or (shown["answer"],)
    built = messages(prompts, question, answers, judgment.turn)[-1]["content"]
    return answers if built == judgment.user_prompt else None


def _known(question: Question, references: Sequence[str | None]) -> dict[str, str]:
    turns = {f"question_{k}": text for k, text in enumerate(question.turns, start=1)}
    given = {f"ref_answer_{k}": text for k, text in enumerate(references, start=1) if text is not None}
    return {"question": question.turns[0], **turns, **given}


def _fields(prompt: Prompt, text: str, known: Mapping[str, str]) -> dict[str, str] | None:
    """What the template's open fields hold in ``text``; None where it is not that template."""
    pattern = ""
    for literal, name, _, _ in string.Formatter().parse(prompt.template):
        pattern += re.escape(literal)
        if name is None:
            continue
        if name in known:
            pattern += re.escape(known[name])
        else:  # shown once more, it must be the same
            pattern += f"(?P={name})" if f"(?P<{name}>" in pattern else f"(?P<{name}>.*?)"
    found = re.fullmatch(pattern, text, re.DOTALL)
    return None if found is None else found.groupdict()


def _numbered(shown: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(shown[key] for key in (f"{name}_1", f"{name}_2") if key in shown)


def _judgment(place: str, told: Mapping[str, Any]) -> Judgment:
    turn = told.get("turn")
    if turn is None:  # older files name it by the prompt alone
        turn = 2 if "multi-turn" in told["judge"][1] else 1
    number, score = told["question_id"], told["score"]
    named = told.get("judge")
    judge = named[0] if isinstance(named, list) and named else "unknown"
    if not isinstance(number, int) or not isinstance(turn, int) or turn not in (1, 2):
        raise ValueError(place)
    if not all(isinstance(text, str) for text in (told["model"], told["user_prompt"], told["judgment"], judge)):
        raise ValueError(place)
    if not isinstance(score, int | float) or not _UNSCORED <= score <= _HIGHEST:  # NaN is no score either
        raise ValueError(place)
    return Judgment(
        place=place,
        question_id=number,
        model=told["model"],
        turn=turn,
        user_prompt=told["user_prompt"],
        judgment=told["judgment"],
        score=float(score),
        judge=judge,
    )
