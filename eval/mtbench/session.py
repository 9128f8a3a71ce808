"""One run of the judge: ask what has no reply yet, ask once more where a verdict has no rating, grade everything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eval.mtbench.asks import Item, Plan
from eval.mtbench.items import Ask
from eval.mtbench.judge import Asked
from eval.mtbench.parsing import Outcome
from eval.mtbench.scoring import Grade, Lookup, grades, reasks

__all__ = ["Graded", "judge"]

Asking = Callable[[Sequence[Ask]], Asked]
"""Puts a reply to each request into the cache, as far as it gets."""


@dataclass(frozen=True, kw_only=True)
class Graded:
    """The grades, and why not all was asked, if so."""

    grades: list[Grade]
    requests: int
    stopped: str | None

    @property
    def lacking(self) -> str | None:
        """What a whole run would have more; None where every judgment had an answer and its reply."""
        lacking = sum(grade.verdict.outcome in (Outcome.TRANSPORT, Outcome.MISSING) for grade in self.grades)
        return f"{lacking} of {len(self.grades)} judgments have no answer or no reply" if lacking else None

    @property
    def reason(self) -> str | None:
        """The same, and why not all was asked."""
        told = [self.lacking, self.stopped and f"stopped: {self.stopped}"]
        return "; ".join(filter(None, told)) or None


def judge(items: Sequence[Item], plan: Plan, reply: Lookup, ask: Asking | None) -> Graded:
    """Grade ``items`` by the replies that ``reply`` finds; without ``ask`` nothing is asked before."""
    requests, stopped = 0, None
    if ask is not None:
        asks = [request for item in items for request in plan.asks(item)]
        for wanted in (lambda: asks, lambda: reasks(items, plan, reply)):
            asked = ask(wanted())
            requests += asked.requests
            if (stopped := asked.stopped) is not None:
                break
    return Graded(grades=grades(items, plan, reply), requests=requests, stopped=stopped)
