"""Judgments as FastChat writes them (``model_judgment/*_single.jsonl``), for the tools that read its files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from eval.mtbench.asks import Item, Plan
from eval.mtbench.items import Reply
from eval.mtbench.prompts import prompt_of
from eval.mtbench.scoring import Grade

__all__ = ["fastchat_judgments"]

_UNSCORED = -1


def fastchat_judgments(plan: Plan, items: Sequence[Item], grades: Sequence[Grade]) -> str:
    """A line for every judgment that has a reply; the score is ours, -1 where there is none.

    ``choice``, ``repeat`` and ``outcome`` stand beside FastChat's fields. Where the judge was asked once more,
    ``judgment`` is what it said then.
    """
    told = {(item.model, item.question.question_id, item.choice, item.turn): item for item in items}
    lines = []
    for grade in grades:
        item = told[grade.model, grade.question_id, grade.choice, grade.turn]
        if not grade.replies or grade.replies[-1].text is None:
            continue
        ask = plan.asks(item)[grade.repeat]
        line = {
            "question_id": grade.question_id,
            "model": grade.model,
            "judge": [plan.judge, prompt_of(plan.prompts, item.question, item.turn).name],
            "user_prompt": ask.messages[-1]["content"],
            "judgment": grade.replies[-1].text,
            "score": _UNSCORED if grade.score is None else grade.score,
            "turn": grade.turn,
            "tstamp": _seconds(grade.replies[-1]),
            "choice": grade.choice,
            "repeat": grade.repeat,
            "outcome": str(grade.verdict.outcome),
        }
        lines.append(json.dumps(line) + "\n")
    return "".join(lines)


def _seconds(reply: Reply) -> float | None:
    """Since 1970, of the reply."""
    return datetime.fromisoformat(reply.created).timestamp() if reply.created else None
