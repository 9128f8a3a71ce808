"""Read the rating off a verdict. Pure: text in, outcome out.

The verdict is text of a model that has read what another model wrote, so what looks like a rating may be a quotation.
The score is the last ``[[n]]`` that is not quoted; where that leaves none, the judge said none.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from eval.mtbench.items import Reply

__all__ = ["HIGHEST", "LOWEST", "Outcome", "Verdict", "read_reply", "read_score", "read_score_as_fastchat"]

LOWEST, HIGHEST = 1.0, 10.0

_RATING = re.compile(r"\[\[\s*(-?[0-9]+(?:\.[0-9]*)?)\s*\]\]")
# At any indentation: a judge's lists carry both.
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})(.*)")
_BLOCK_QUOTE = re.compile(r"[ \t]*>")
_QUOTATION_MARK = re.compile("[\"'`«»\u2018-\u201f]")
# Characters around a rating that must agree with the answer, beyond the rating itself, to call it copied from there.
# The common "Rating: [[7]]" agrees in 8; a judge's own sentence does not agree in 24 by chance.
_COPIED_CONTEXT = 24
# FastChat's two patterns (llm_judge/common.py: one_score_pattern, one_score_pattern_backup).
_FASTCHAT = re.compile(r"\[\[(\d+\.?\d*)\]\]")
_FASTCHAT_BACKUP = re.compile(r"\[(\d+\.?\d*)\]")


class Outcome(StrEnum):
    """What became of one judgment."""

    SCORED = "scored"
    UNPARSABLE = "unparsable"  # a verdict without a rating of its own
    OUT_OF_RANGE = "out of range"  # its last rating is below 1 or above 10
    TRUNCATED = "truncated"  # cut by the judge's token limit: its last rating may still have been to come
    REFUSED = "refused"
    FILTERED = "filtered"
    TRANSPORT = "transport"  # no reply in the end
    EMPTY_ANSWER = "empty answer"  # nothing to judge, and not sent
    MISSING = "missing"  # no answer, or no reply in the cache, the one about a missing rating included


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """An outcome; ``score`` where there is one, ``detail`` of what else there was to say."""

    outcome: Outcome
    score: float | None = None
    detail: str = ""

    def __post_init__(self) -> None:
        if (self.score is None) == (self.outcome in (Outcome.SCORED, Outcome.EMPTY_ANSWER)):
            raise ValueError(f"a score belongs to scored and empty answer alone; got {self.outcome}, {self.score}")


def read_reply(reply: Reply, answers: Sequence[str], *, fastchat: bool = False) -> Verdict:
    """The verdict in a reply about ``answers``; with ``fastchat``, as FastChat would have read it."""
    if reply.failure is not None:
        return Verdict(outcome=Outcome(reply.failure), detail=reply.detail)
    if fastchat:
        score = read_score_as_fastchat(reply.text or "")
        if score == -1:
            return Verdict(outcome=Outcome.UNPARSABLE, detail="FastChat's -1")
        return Verdict(outcome=Outcome.SCORED, score=score)
    if reply.finish_reason == "content_filter":
        return Verdict(outcome=Outcome.FILTERED, detail="finish_reason content_filter")
    if reply.finish_reason == "length":
        return Verdict(outcome=Outcome.TRUNCATED, detail="finish_reason length")
    return read_score(reply.text or "", answers)


def read_score(verdict: str, answers: Sequence[str] = ()) -> Verdict:
    """The last ``[[n]]`` of the verdict that is not quoted, 1 to 10, decimals allowed.

    Quoted is what stands in a code fence (open ones reach to the end, as in CommonMark), in a block quote, or was
    copied from one of ``answers``: between quotation marks, or with 24 characters around it that agree.
    """
    own = _one_spaced(_without_blocks(verdict))
    sources = [_one_spaced(answer) for answer in answers]
    ratings = [found for found in _RATING.finditer(own) if not _is_copied(own, found, sources)]
    if not ratings:
        return Verdict(outcome=Outcome.UNPARSABLE, detail="no [[n]] of the judge's own")
    score = float(ratings[-1][1])
    if not LOWEST <= score <= HIGHEST:
        return Verdict(outcome=Outcome.OUT_OF_RANGE, detail=ratings[-1][0][:40])
    return Verdict(outcome=Outcome.SCORED, score=score)


def read_score_as_fastchat(verdict: str) -> float:
    """FastChat's reading: the first ``[[n]]`` anywhere, else the first ``[n]``, else -1; any n.

    A number that its ``ast.literal_eval`` cannot read (``[[05]]``) stops FastChat with a SyntaxError; -1 here.
    """
    found = _FASTCHAT.search(verdict) or _FASTCHAT_BACKUP.search(verdict)
    try:
        return -1.0 if found is None else float(ast.literal_eval(found[1]))
    except (SyntaxError, ValueError, OverflowError):
        return -1.0


def _without_blocks(text: str) -> str:
    """The text without its fenced code and block quotes; each leaves an empty line."""
    kept, fence = [], ""
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not mark[2].strip():
                fence = ""
            kept.append("")
        elif mark and not (mark[1][0] == "`" and "`" in mark[2]):
            fence = mark[1]
            kept.append("")
        else:
            kept.append("" if _BLOCK_QUOTE.match(line) else line)
    return "\n".join(kept)


def _is_copied(verdict: str, rating: re.Match[str], sources: Sequence[str]) -> bool:
    """Whether the answer says the same around it, up to quotation marks or for a stretch too long for chance."""
    start, end = rating.span()
    # The nearest marks will do: what stands between farther ones is in the answer only if this is.
    opening = [mark.end() for mark in _QUOTATION_MARK.finditer(verdict, 0, start)][-1:]
    closing = [mark.start() for mark in _QUOTATION_MARK.finditer(verdict, end)][:1]
    spans = [verdict[left:right].strip() for left in opening for right in closing]
    for left in range(_COPIED_CONTEXT + 1):
        right = _COPIED_CONTEXT - left
        if start >= left and end + right <= len(verdict):
            spans.append(verdict[start - left : end + right])
    return any(span in source for span in spans for source in sources)


def _one_spaced(text: str) -> str:
    """Every stretch of white space as one space: a judge wraps what it quotes."""
    return re.sub(r"\s+", " ", text)
