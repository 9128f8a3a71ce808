"""The claims on gradients: C1, C2, C4 and C14, block by block, from readings through training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from statistics import fmean

from scipy.special import stdtrit

from bench.stats import ratio_interval
from reports.behind import behind, bracketed
from reports.document import Samples, Verdict
from reports.paper.claims import PaperClaim
from reports.paper.findings import Finding, Rule, in_all
from reports.reading.gradients import GradientRun
from reports.reading.settings import setting_of
from reports.reading.shelf import Shelf

__all__ = ["GRADIENT_RULES"]

_ORIGINAL, _PAPER, _OWN = "none", "shared", "per-block"
_PERCENT, _HELD = 0.01, 0.9
Judged = tuple[Verdict, str, float, list[Samples]]
"""One role: verdict, in words, the figure, the blocks behind it."""


def _in_every_role(judge: Callable[[GradientRun, str], Judged | None], form: str) -> Rule:
    """The rule that what holds must hold in every role; a run that lacks a role's figures is passed over.

    ``form``: of the figure of the role that is worst off.
    """

    def rule(claim: PaperClaim, shelf: Shelf) -> Iterator[Finding]:
        for run in shelf.gradients:
            judged = [judge(run, role) for role in run.roles()]
            known = [one for one in judged if one is not None]
            if not known or len(known) < len(judged):
                continue
            least = min(known, key=lambda one: one[2])
            yield Finding(
                verdict=in_all([one[0] for one in known]),
                text=form.format(least[2]),
                sort=least[2],
                setting=setting_of(run.record),
                # Of any encoder that learns a GLUE task from its pretrained weights: the claim names no model.
                of_claim=run.record.config.get("random_weights") is False
                and isinstance(run.record.config.get("task"), str),
                why="; ".join(one[1] for one in known),
                detail=behind([run.source], [samples for one in known for samples in one[3]], "by block"),
                ended=run.record.ended,
            )

    return rule


def _few_significant(run: GradientRun, role: str) -> Judged | None:
    """C1."""
    shares, _ = run.paired("energy_share", role, _PAPER, _PAPER)
    if not shares or not _one_percent(run):
        return None
    low, high = _interval(shares)
    verdict = _side(low, high, _HELD)
    return verdict, f"{role}: 1% hold {fmean(shares):.2f} {_ends(low, high)}", fmean(shares), _samples(role, shares)


def _sparser(run: GradientRun, role: str) -> Judged | None:
    """C2."""
    rotated, original = run.paired("energy_share", role, _PAPER, _ORIGINAL)
    if not rotated or not _one_percent(run):
        return None
    gains = tuple(x - y for x, y in zip(rotated, original, strict=True))
    low, high = _interval(gains)
    told = f"{role}: 1% hold {fmean(rotated):.2f} rotated, {fmean(original):.2f} as it is, gain {_ends(low, high)}"
    return _side(low, high, 0.0), told, fmean(gains), _samples(f"{role}, gain", gains)


def _shared_suffices(run: GradientRun, role: str) -> Judged | None:
    """C4."""
    shared, own = run.paired("energy_share", role, _PAPER, _OWN)
    return _ratio(f"{role}: shared over each block's own", shared, own, _HELD) if _one_percent(run) else None


def _flatter(run: GradientRun, role: str) -> Judged | None:
    """C14."""
    rotated, original = run.paired("flatness", role, _PAPER, _ORIGINAL)
    return _ratio(f"{role}: flatness as it is over rotated", original, rotated, 1.0)


def _ratio(what: str, ours: tuple[float, ...], theirs: tuple[float, ...], least: float) -> Judged | None:
    """Whether a ratio, paired by block, is above ``least``."""
    if not ours or min(*ours, *theirs) <= 0:
        return None
    ratio = ratio_interval(ours, theirs)
    values = tuple(x / y for x, y in zip(ours, theirs, strict=True))
    told = f"{what} {ratio.mean:.2f} {bracketed(ratio)}"
    return _side(ratio.low, ratio.high, least), told, ratio.mean, _samples(what, values)


def _one_percent(run: GradientRun) -> bool:
    kept = run.record.config.get("kept")
    return isinstance(kept, float) and math.isclose(kept, _PERCENT)


def _side(low: float, high: float, bound: float) -> Verdict:
    """Above the bound, below it, or across."""
    if low > bound:
        return Verdict.REPRODUCED
    return Verdict.NOT_REPRODUCED if high < bound else Verdict.WITHIN_NOISE


def _interval(values: tuple[float, ...]) -> tuple[float, float]:
    """Student's t over blocks; infinite from one."""
    count, mean = len(values), fmean(values)
    if count < 2:
        return -math.inf, math.inf
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1) / count)
    half = float(stdtrit(count - 1, 0.975)) * spread
    return mean - half, mean + half


def _ends(low: float, high: float) -> str:
    return f"[{low:.2f}, {high:.2f}]"


def _samples(name: str, values: tuple[float, ...]) -> list[Samples]:
    return [Samples(name=name, unit="share", values=values)]


GRADIENT_RULES: dict[str, Rule] = {
    "C1": _in_every_role(_few_significant, "1% hold {:.2f}"),
    "C2": _in_every_role(_sparser, "{:+.2f} of the squared norm"),
    "C4": _in_every_role(_shared_suffices, "{:.2f} of what own bases hold"),
    "C14": _in_every_role(_flatter, "{:.2f}x as flat"),
}
