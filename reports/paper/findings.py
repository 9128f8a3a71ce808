"""From measurements to a verdict: each says something of a claim in a setting, and the claim is settled by them all.

Only the setting that a claim is made of can give it a verdict: a figure of another machine or model is shown beside it,
marked as not comparable. A claim fails where it fails in any such setting; it is reproduced where it holds in one and
fails in none; it is within noise where every one leaves it open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.stats import RatioInterval
from reports.document import Cell, CellStatus, Certainty, Claim, Detail, Verdict
from reports.paper.claims import PaperClaim
from reports.reading.shelf import Shelf

__all__ = ["Finding", "Rule", "counted", "in_all", "in_band", "settle", "told_side"]

_MARK = {Verdict.WITHIN_NOISE: CellStatus.NOISE}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One measurement beside a claim."""

    verdict: Verdict
    """What it says, were its setting the claim's."""
    text: str
    """The figure: ``1.61x``."""
    setting: str
    """Where it was measured, in words."""
    of_claim: bool
    """Whether that is the setting that the claim is made of."""
    why: str
    """How the verdict follows from the figure."""
    interval: str | None = None
    sort: float | None = None
    detail: Detail | None = None
    ended: str = ""
    """When it was measured, ISO 8601: of one setting measured twice the newer counts."""

    def cell(self) -> Cell:
        """The figure as the ledger shows it."""
        status = _MARK.get(self.verdict, CellStatus.OK) if self.of_claim else CellStatus.INCOMPARABLE
        return Cell(
            text=self.text,
            sort=self.sort,
            status=status,
            interval=self.interval,
            reason=f"{self.setting}: {self.why}",
            detail=self.detail,
        )


Rule = Callable[[PaperClaim, Shelf], Iterable[Finding]]


def counted(what: str, held: bool, *, text: str, value: float, why: str) -> Finding:
    """What follows from shapes alone, which is of the claim wherever it is counted."""
    return Finding(
        verdict=Verdict.REPRODUCED if held else Verdict.NOT_REPRODUCED,
        text=text,
        sort=value,
        setting=f"counted, {what}",
        of_claim=True,
        why=why,
    )


def settle(claim: PaperClaim, findings: Iterable[Finding]) -> Claim:
    """The claim's row of the ledger."""
    newest = _newest(findings)
    own = [finding for finding in newest if finding.of_claim]
    others = [finding for finding in newest if not finding.of_claim]
    verdict = verdict_of([finding.verdict for finding in own], claim.everywhere)
    certainty = _certainty(claim)
    if certainty is Certainty.UNCERTAIN:
        verdict = Verdict.NO_VERDICT
    return Claim(
        id=claim.id,
        sentence=claim.sentence,
        place=claim.where,
        published="; ".join(f"{name}: {value.told()}" for name, value in claim.printed.items())
        or "a direction, no figure",
        certainty=certainty,
        tolerance=claim.tolerance,
        measured=tuple(finding.cell() for finding in (*own, *others)),
        verdict=verdict,
        why=" ".join(_reasons(claim, verdict, own, others)),
        takes=None if verdict is Verdict.NO_VERDICT else claim.to_test,
    )


def _reasons(claim: PaperClaim, verdict: Verdict, own: Sequence[Finding], others: Sequence[Finding]) -> Iterator[str]:
    """How the verdict follows, sentence by sentence."""
    if verdict is Verdict.NO_VERDICT:
        yield "The printed value cannot be read with certainty."
    elif own and verdict is Verdict.NOT_TESTED:
        yield f"Not everywhere: it must hold in each of {claim.everywhere} settings; {len(own)} were tried."
    elif not own:
        yield "Not measured in the setting that the claim is made of."
        said = Counter(finding.verdict.value for finding in others)
        if said:
            told = ", ".join(f"{verdict} in {times}" for verdict, times in said.items())
            yield f"Elsewhere, which decides nothing: {told}."
    deciding = [finding for finding in own if finding.verdict is verdict] or own
    for finding in deciding:
        yield f"{finding.setting}: {finding.why}."


def verdict_of(verdicts: Sequence[Verdict], everywhere: int = 1) -> Verdict:
    """All settings of the claim together: one that fails is enough to fail, then one that holds to hold.

    ``everywhere``: of a claim on so many settings each must have been tried, and one left open leaves it open.
    """
    if everywhere > 1 and Verdict.NOT_REPRODUCED not in verdicts:
        return in_all(verdicts) if len(verdicts) >= everywhere else Verdict.NOT_TESTED
    for verdict in (Verdict.NOT_REPRODUCED, Verdict.REPRODUCED, Verdict.WITHIN_NOISE):
        if verdict in verdicts:
            return verdict
    return Verdict.NOT_TESTED


def in_all(verdicts: Sequence[Verdict]) -> Verdict:
    """Of parts that must all hold: one that fails is enough to fail, one that is open leaves all open."""
    if not verdicts:
        return Verdict.NOT_TESTED
    for verdict in (Verdict.NOT_REPRODUCED, Verdict.NOT_TESTED, Verdict.WITHIN_NOISE):
        if verdict in verdicts:
            return verdict
    return Verdict.REPRODUCED


def in_band(ratio: RatioInterval, low: float, high: float) -> Verdict:
    """Whether an interval lies within a band of factors, wholly out of it, or across its edge."""
    if low <= ratio.low and ratio.high <= high:
        return Verdict.REPRODUCED
    return Verdict.NOT_REPRODUCED if ratio.high < low or ratio.low > high else Verdict.WITHIN_NOISE


def told_side(sides: Sequence[str | None], wanted: str) -> Verdict:
    """Verdict on a claim of direction: every side told is the wanted one, some is the other, or some is open (``~``).

    ``sides``: ``~``, ``wanted`` or its opposite; None for not measured.
    """
    said = {None: Verdict.NOT_TESTED, wanted: Verdict.REPRODUCED, "~": Verdict.WITHIN_NOISE}
    return in_all([said.get(side, Verdict.NOT_REPRODUCED) for side in sides])


def _newest(findings: Iterable[Finding]) -> list[Finding]:
    """One finding a setting, the newest, newest first."""
    by_setting: dict[str, Finding] = {}
    for finding in sorted(findings, key=lambda finding: finding.ended):
        if finding.verdict is not Verdict.NOT_TESTED:
            by_setting[finding.setting] = finding
    return sorted(by_setting.values(), key=lambda finding: finding.ended, reverse=True)


def _certainty(claim: PaperClaim) -> Certainty:
    """Of its least certain figure."""
    order: Mapping[Certainty, int] = {kind: place for place, kind in enumerate(Certainty)}
    return max((value.certainty for value in claim.printed.values()), key=order.__getitem__, default=Certainty.CERTAIN)
