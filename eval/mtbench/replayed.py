"""Judgments that others made, graded as a run of our own: their judge's replies, our reading, means and intervals.

Each judgment becomes the request that we would have sent and the reply that came, so that everything behind it, from
the rating's reading to the paired differences, is the code that grades our own runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from eval.mtbench.asks import Item, Plan
from eval.mtbench.hostile import one_line
from eval.mtbench.items import Answer, Ending, Reply
from eval.mtbench.scoring import Grade, grades
from eval.mtbench.verify import Checked, Judgment

__all__ = ["items_of", "provenance", "replayed"]

_WHOLE: Ending = "stop"


def items_of(checked: Sequence[Checked]) -> list[tuple[Item, Judgment]]:
    """What was judged, of every prompt that was rebuilt. Judged twice, it is there twice, as two choices."""
    seen: Counter[tuple[str, int, int]] = Counter()
    items = []
    for one in checked:
        judgment = one.judgment
        if one.question is None:
            continue
        place = (judgment.model, judgment.question_id, judgment.turn)
        answer = Answer(
            question_id=judgment.question_id,
            model=judgment.model,
            choice=seen[place],
            turns=one.answers,
            endings=(_WHOLE,) * len(one.answers),
        )
        item = Item(question=one.question, model=judgment.model, choice=seen[place], turn=judgment.turn, answer=answer)
        items.append((item, judgment))
        seen[place] += 1
    return items


def replayed(checked: Sequence[Checked], plan: Plan) -> list[Grade]:
    """The grades that the file's replies give; a prompt that was not rebuilt has none."""
    replies: dict[str, Reply] = {}
    items = []
    for item, judgment in items_of(checked):
        items.append(item)
        for ask in plan.asks(item):
            replies[ask.key] = Reply(key=ask.key, text=judgment.judgment, finish_reason=None, judge_returned=plan.judge)
    return grades(items, plan, replies.get)


def provenance(checked: Sequence[Checked], name: str) -> list[str]:
    """What must be said beside figures made from the file of that name."""
    judges = ", ".join(sorted({one_line(one.judgment.judge, 60) for one in checked}))
    said = [
        f"replayed from the judgments in {one_line(name, 60)}, nobody was asked: their judge is known by name alone "
        f"({judges}), and models whose judgments come from different sources are not comparable"
    ]
    if left_out := sum(not one.rebuilt for one in checked):
        said.append(f"{left_out} of {len(checked)} judgments left out: their prompts could not be rebuilt")
    return said
