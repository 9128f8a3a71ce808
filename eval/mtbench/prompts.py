"""The judge's four prompts, and the messages that one turn of one answer makes of them.

With FastChat's ``judge_prompts.jsonl`` the messages are FastChat's to the byte (llm_judge/common.py:
``run_judge_single``, and ``Conversation.to_openai_api_messages`` for its gpt-4 template): a system message where the
prompt has one, then one user message.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BadRequest
from eval.mtbench.items import Question
from eval.mtbench.jsonl import read_objects
from eval.mtbench.questions import NEEDS_REFERENCE

__all__ = ["Prompt", "Prompts", "messages", "prompt_of", "read_prompts"]

# name -> the fields it must show, and those it may.
_NAMES = {
    "single-v1": {"question", "answer"},
    "single-math-v1": {"question", "ref_answer_1", "answer"},
    "single-v1-multi-turn": {"question_1", "answer_1", "question_2", "answer_2"},
    "single-math-v1-multi-turn": {
        *("question_1", "ref_answer_1", "question_2", "ref_answer_2"),
        *("answer_1", "answer_2"),
    },
}
# A line of a template that fences a part of it off: [Question], <|The Start of ...|>, ### User:
_DELIMITER = re.compile(r"\[[^\s\[\]{}][^\[\]{}\n]*\]|<\|[^{}\n]+\|>|##+ [^{}\n]+:")


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One way to ask for a rating: ``template`` is filled by ``str.format``, ``system`` is sent as it is."""

    name: str
    system: str
    template: str

    @property
    def fields(self) -> set[str]:
        """The names that the template shows."""
        return {name for _, name, _, _ in string.Formatter().parse(self.template) if name is not None}

    @property
    def delimiters(self) -> set[str]:
        """The lines that fence its parts off, such as ``[The End of Assistant's Answer]``."""
        return {line.strip() for line in self.template.split("\n") if _DELIMITER.fullmatch(line.strip())}


Prompts = Mapping[str, Prompt]
"""The four single-answer prompts by name."""


def read_prompts(path: Path) -> dict[str, Prompt]:
    """The four single-answer prompts of a file in FastChat's schema; prompts of other names are passed over.

    Raises BadRequest where one of the four is absent, or shows other fields than it is given.
    """
    prompts = {}
    for place, told in read_objects(path):
        name = told.get("name")
        if name not in _NAMES:
            continue
        system, template = told.get("system_prompt"), told.get("prompt_template")
        if not isinstance(system, str) or not isinstance(template, str):
            raise BadRequest(f"{place}: system_prompt and prompt_template, two texts, are needed")
        prompt = Prompt(name=name, system=system, template=template)
        try:
            shown = prompt.fields
        except ValueError as error:
            raise BadRequest(f"{place}: prompt_template: {error}") from error
        if shown != _NAMES[name]:
            raise BadRequest(f"{place}: {name} must show {sorted(_NAMES[name])}, got {sorted(shown)}")
        prompts[name] = prompt
    if missing := _NAMES.keys() - prompts.keys():
        raise BadRequest(f"{str(path)!r} has no {', '.join(sorted(missing))}; FastChat's judge_prompts.jsonl is needed")
    return prompts


def prompt_of(prompts: Prompts, question: Question, turn: int) -> Prompt:
    """Which of the four: by turn, and by whether category and policy give a reference for every turn shown."""
    referenced = question.category in NEEDS_REFERENCE and all(question.references[:turn])
    name = "single-math-v1" if referenced else "single-v1"
    return prompts[name if turn == 1 else f"{name}-multi-turn"]


def messages(prompts: Prompts, question: Question, answers: Sequence[str], turn: int) -> tuple[dict[str, str], ...]:
    """What the judge is sent about turn 1 or 2; ``answers`` holds the answers up to that turn.

    Texts are put in by one ``str.format``: braces inside a question or an answer are left alone.
    """
    prompt = prompt_of(prompts, question, turn)
    user = prompt.template.format(**_values(question, answers, turn))
    system = ({"role": "system", "content": prompt.system},) if prompt.system else ()
    return (*system, {"role": "user", "content": user})


def _values(question: Question, answers: Sequence[str], turn: int) -> dict[str, str]:
    references = {f"ref_answer_{k}": text or "" for k, text in enumerate(question.references[:turn], start=1)}
    if turn == 1:
        return {"question": question.turns[0], "answer": answers[0], **references}
    shown = {"question_1": question.turns[0], "question_2": question.turns[1]}
    return {**shown, "answer_1": answers[0], "answer_2": answers[1], **references}
