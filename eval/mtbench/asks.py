"""What the judge is asked: one request for each turn of each answer, and one more where a verdict held no rating."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from eval.mtbench.harden import Marks
from eval.mtbench.items import Answer, Ask, Question, Reply
from eval.mtbench.prompts import Prompts, messages

__all__ = ["PARAMETERS", "Item", "Plan", "reask"]

# As FastChat asks gpt-4 (llm_judge/common.py: run_judge_single).
PARAMETERS: Mapping[str, Any] = {"temperature": 0, "max_tokens": 2048}

_REASK = (
    "Your verdict holds no rating that can be read. Give your rating of the same response now, and nothing else, by "
    'strictly following this format: "[[rating]]", for example: "Rating: [[5]]".'
)


@dataclass(frozen=True, kw_only=True)
class Item:
    """One turn of one choice of one model, to be scored; ``answer`` is None where the model gave none."""

    question: Question
    model: str
    choice: int
    turn: int
    answer: Answer | None

    @property
    def shown(self) -> tuple[str, ...]:
        """The answers up to this turn."""
        return () if self.answer is None else self.answer.turns[: self.turn]

    @property
    def empty(self) -> bool:
        """The model said nothing in this turn."""
        return self.answer is not None and not self.shown[-1].strip()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How items become requests: the judge, its prompts, how often it is asked, and what is done to answers first."""

    judge: str
    prompts: Prompts
    repeats: int
    harden: bool
    fastchat: bool
    """As FastChat: an empty answer is sent like any other, and nothing is asked a second time."""

    @cached_property
    def marks(self) -> Marks:
        """What answers must not say to this judge."""
        return Marks(self.prompts)

    def items(self, questions: Sequence[Question], answers: Sequence[Answer], choices: int) -> list[Item]:
        """Every turn of every question for each model in ``answers``, in a fixed order; absent answers included."""
        given = {(answer.model, answer.question_id, answer.choice): answer for answer in answers}
        return [
            Item(question=question, model=model, choice=choice, turn=turn, answer=_up_to(answer, turn))
            for model in dict.fromkeys(answer.model for answer in answers)
            for question in questions
            for choice in range(choices)
            for answer in [given.get((model, question.question_id, choice))]
            for turn in range(1, len(question.turns) + 1)
        ]

    def asks(self, item: Item) -> list[Ask]:
        """The requests about one item, one a repeat; none where there is nothing to judge."""
        if item.answer is None or (item.empty and not self.fastchat):
            return []
        shown = [self.marks.neutralised(text) for text in item.shown] if self.harden else item.shown
        return [
            Ask(
                question_id=item.question.question_id,
                model=item.model,
                choice=item.choice,
                turn=item.turn,
                repeat=repeat,
                judge=self.judge,
                messages=messages(self.prompts, item.question, shown, item.turn),
                parameters=dict(PARAMETERS),
            )
            for repeat in range(self.repeats)
        ]


def _up_to(answer: Answer | None, turn: int) -> Answer | None:
    """None for an answer that ends before that turn: it is absent, not empty."""
    return answer if answer is not None and len(answer.turns) >= turn else None


def reask(ask: Ask, reply: Reply) -> Ask:
    """The one further request about a verdict without a rating: the same conversation, continued.

    Its messages are others, and so is its key: both requests and both replies are kept.
    """
    verdict = {"role": "assistant", "content": reply.text or "(no text)"}
    return replace(ask, messages=(*ask.messages, verdict, {"role": "user", "content": _REASK}))
