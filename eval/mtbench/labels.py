"""What must be said beside a score: whose it is, and why it may not stand beside published ones."""

from __future__ import annotations

from collections.abc import Sequence

from eval.mtbench.asks import Plan
from eval.mtbench.hostile import one_line
from eval.mtbench.protocol import Protocol
from eval.mtbench.scoring import Grade
from eval.mtbench.service import same_judge

__all__ = ["labels_of", "policies_of"]

# Whose ratings the published scores are, and where they were made.
_PROTOCOL_JUDGE = "gpt-4"
_PROTOCOL_HOST = "api.openai.com"


def labels_of(protocol: Protocol, plan: Plan, grades: Sequence[Grade]) -> list[str]:
    """The reasons, protocol first; none where the scores are comparable with published ones."""
    replies = [reply for grade in grades for reply in grade.replies if reply.failure != "transport"]
    labels = list(protocol.labels)
    if not same_judge(_PROTOCOL_JUDGE, plan.judge):
        labels.append(f"rated by {one_line(plan.judge, 60)}, not by {_PROTOCOL_JUDGE}: not comparable with its scores")
    for returned in sorted({str(r.judge_returned) for r in replies if not same_judge(plan.judge, r.judge_returned)}):
        told = "no model was named" if returned == "None" else f"{one_line(returned, 60)} answered"
        labels.append(f"{one_line(plan.judge, 60)} was asked, {told}: not comparable")
    for host in sorted({r.served_by for r in replies if r.served_by not in (None, _PROTOCOL_HOST)}, key=str):
        labels.append(
            f"served by {one_line(str(host), 60)}, not by {_PROTOCOL_HOST}: comparable with nothing but itself"
        )
    for adapted in sorted({name for r in replies for name in r.adapted}):
        labels.append(f"the service did not take a parameter as the protocol has it: {one_line(adapted, 60)}")
    if plan.harden:
        labels.append("hardened: marks inside answers were neutralised before the judge saw them")
    return labels


def policies_of(protocol: Protocol, plan: Plan) -> list[str]:
    """How it was graded, where there was a choice."""
    if plan.fastchat:
        how = "as FastChat: the first [[n]] of a verdict, else the first [n]; the mean over rows with a score"
    else:
        how = (
            "the last [[n]] of a verdict outside quotations, 1 to 10; without one the judge is asked once more; "
            "an empty answer scores 1 without being sent"
        )
    questions = f"questions: {protocol.name} ({len(protocol.questions)}), {protocol.prompts_name} judge prompts"
    return [questions, *protocol.policies, f"ratings: {how}", f"judge: {one_line(plan.judge, 60)}"]
