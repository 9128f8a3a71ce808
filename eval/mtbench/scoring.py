"""From requests and replies to grades: what is read, what is asked once more, and what counts without being asked.

An empty answer scores 1, the lowest rating, without a request: the judge's prompt gives a rating to every response, and
an answer of nothing must not raise a mean by being left out. (``fastchat``: it is sent like any other.) Everything else
that has no rating has no score; it lowers the coverage, and the bounds say what it could have been.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eval.mtbench.asks import Item, Plan, reask
from eval.mtbench.items import Ask, Ending, Reply
from eval.mtbench.parsing import LOWEST, Outcome, Verdict, read_reply

__all__ = ["Grade", "Lookup", "grades", "reasks"]

Lookup = Callable[[str], Reply | None]
"""The reply of the one service in question to the request with that key, where there is one."""


@dataclass(frozen=True, kw_only=True)
class Grade:
    """One judgment of one turn, by one repeat of the judge."""

    question_id: int
    category: str
    model: str
    choice: int
    turn: int
    repeat: int
    verdict: Verdict
    marks: tuple[str, ...]
    """What in the answers shown speaks to the judge: ratings, delimiters."""
    ending: Ending | None
    """Of the answer; None where it was missing."""
    mended: bool
    """The answer held half a surrogate pair."""
    reasked: bool
    replies: tuple[Reply, ...]
    """What was read: none, one, or two where the judge was asked once more."""

    @property
    def score(self) -> float | None:
        """1 to 10 (any number under ``fastchat``); None without one."""
        return self.verdict.score


def grades(items: Sequence[Item], plan: Plan, reply: Lookup) -> list[Grade]:
    """The grades of all items, repeat by repeat, in their order."""
    return [grade for item in items for grade in _of_item(item, plan, reply)]


def reasks(items: Sequence[Item], plan: Plan, reply: Lookup) -> list[Ask]:
    """The further requests that replies without a rating call for, one each at most."""
    if plan.fastchat:
        return []
    return [
        reask(ask, first)
        for item in items
        for ask in plan.asks(item)
        if (first := reply(ask.key)) is not None and read_reply(first, item.shown).outcome is Outcome.UNPARSABLE
    ]


def _of_item(item: Item, plan: Plan, reply: Lookup) -> list[Grade]:
    asks = plan.asks(item)
    if asks:
        read = [_read(ask, item, plan, reply) for ask in asks]
    elif item.answer is None:
        missing = Verdict(outcome=Outcome.MISSING, detail="no answer")
        read = [(missing, ())] * plan.repeats
    else:
        read = [(Verdict(outcome=Outcome.EMPTY_ANSWER, score=LOWEST), ())] * plan.repeats
    marks = tuple(plan.marks.found(item.shown))
    return [
        Grade(
            question_id=item.question.question_id,
            category=item.question.category,
            model=item.model,
            choice=item.choice,
            turn=item.turn,
            repeat=repeat,
            verdict=verdict,
            marks=marks,
            ending=None if item.answer is None else item.answer.endings[item.turn - 1],
            mended=item.answer is not None and item.answer.mended,
            reasked=len(replies) > 1,
            replies=replies,
        )
        for repeat, (verdict, replies) in enumerate(read)
    ]


def _read(ask: Ask, item: Item, plan: Plan, reply: Lookup) -> tuple[Verdict, tuple[Reply, ...]]:
    first = reply(ask.key)
    if first is None:
        return Verdict(outcome=Outcome.MISSING, detail="no reply"), ()
    verdict = read_reply(first, item.shown, fastchat=plan.fastchat)
    if plan.fastchat or verdict.outcome is not Outcome.UNPARSABLE:
        return verdict, (first,)
    second = reply(reask(ask, first).key)
    if second is None:
        return Verdict(outcome=Outcome.MISSING, detail="no rating, and not yet asked again for it"), (first,)
    # Asked for a rating and nothing else, it quotes nobody: an answer full of [[n]] cannot make this one unreadable.
    return read_reply(second, ()), (first, second)
