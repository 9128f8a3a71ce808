"""The claims on LLaMA-2-7B, C15 and C16: from runs tuned on conversations, and from a judge's ratings of their answers.

A judge's record names the models it rated; a tuned one is named by the folder that its run saved it in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from eval.chat.sources import HUB
from reports.behind import behind
from reports.document import Samples, Verdict
from reports.paper.claims import PaperClaim
from reports.paper.findings import Finding, Rule, in_all
from reports.paper.published import LLAMA, METHODS
from reports.reading.chat import ChatComparison
from reports.reading.folders import Source
from reports.reading.judged import JudgedRun
from reports.reading.settings import model_called, paper_model
from reports.reading.shelf import Shelf

__all__ = ["LLAMA_RULES", "answered", "method_of", "of_paper", "rated_as_paper"]

_MODEL, _QUESTIONS = "llama-2-7b", "mt-bench-inf"
_OURS = "SparseGrad"
_SIDES = {"worse": Verdict.REPRODUCED, "better": Verdict.NOT_REPRODUCED}
"""By what the other method is against SparseGrad."""


@dataclass(frozen=True, kw_only=True)
class _Part:
    """SparseGrad beside one other method, by one measure."""

    verdict: Verdict
    why: str
    value: float | None = None
    """How much better SparseGrad is."""
    samples: tuple[Samples, ...] = ()
    sources: tuple[Source, ...] = ()


def of_paper(one: ChatComparison) -> bool:
    """Whether these runs are what table 6 is made of: pretrained LLaMA-2-7B on OpenAssistant, the paper's protocol."""
    asked = one.record.config
    protocol = asked.get("protocol")
    return (
        paper_model(one.record) == _MODEL
        and asked.get("random_weights") is False
        and asked.get("data") == HUB
        and isinstance(protocol, dict)
        and protocol.get("name") == "paper"
    )


def rated_as_paper(run: JudgedRun) -> bool:
    """Whether these ratings may stand beside the paper's: its questions, judge and prompts, all of them."""
    return run.questions == _QUESTIONS and not run.labels


def method_of(one: ChatComparison, name: str) -> str | None:
    """The method here that is the paper's one of that name, where it was run."""
    return next((method for method in METHODS[name] if method in one.runs), None)


def answered(one: ChatComparison, method: str, run: JudgedRun) -> tuple[str, ...]:
    """Which of the rated models are the method's, all seeds."""
    folders = {made.saved for made in one.runs[method] if made.saved}
    return tuple(model for model in run.scores if model.rsplit("+", 1)[-1] in folders)


def _best(claim: PaperClaim, shelf: Shelf) -> Iterator[Finding]:
    """C15. All parts must hold at 95%, so that none needs a correction; one that fails is enough to fail."""
    for one in shelf.chat:
        if (ours := method_of(one, _OURS)) is None:
            continue
        losses, ratings = list(_losses(one, ours)), list(_ratings(one, ours, shelf.judged))
        parts = [*losses, *ratings]
        known = [part for part in parts if part.verdict is not Verdict.NOT_TESTED]
        if not known:
            continue
        verdict = in_all([part.verdict for part in parts])
        whole = verdict is not Verdict.NOT_TESTED
        margins = [_least(losses, "+.4f", "nats"), _least(ratings, "+.2f", "points")]
        yield Finding(
            verdict=verdict if whole else in_all([part.verdict for part in known]),
            text=", ".join(filter(None, margins)),
            sort=known[0].value,
            setting=_setting(one),
            of_claim=of_paper(one) and whole,
            why="; ".join(part.why for part in parts),
            detail=behind(
                [source for part in known for source in part.sources],
                [samples for part in known for samples in part.samples],
                "the least of SparseGrad's margins over the others",
            ),
            ended=one.record.ended,
        )


def _least(parts: Collection[_Part], form: str, unit: str) -> str:
    """The least margin in words; nothing where none was measured."""
    values = [part.value for part in parts if part.value is not None]
    return f"{min(values):{form}} {unit}" if values else ""


def _losses(one: ChatComparison, ours: str) -> Iterator[_Part]:
    """The valid loss, paired over conversations and seeds, Holm over the others."""
    others = {name: method_of(one, name) for name in LLAMA if name != _OURS}
    rows = {row["method"]: row for row in one.rows_against(ours, [found for found in others.values() if found])}
    for name, found in others.items():
        told = None if found is None else rows[found]["difference"]
        if found is None or told is None:
            yield _Part(verdict=Verdict.NOT_TESTED, why=f"no loss of {name}")
            continue
        ends = [None if told[end] is None else f"{told[end]:+.4f}" for end in ("low", "high")]
        interval = "one seed tells nothing of others" if None in ends else f"[{ends[0]}, {ends[1]}]"
        values = tuple(told["by_seed"])
        yield _Part(
            verdict=_SIDES.get(rows[found]["verdict"], Verdict.WITHIN_NOISE),
            why=f"valid loss of {found} minus {ours} {told['mean']:+.4f} {interval}",
            value=told["mean"],
            samples=(Samples(name=f"{found} minus {ours}: valid loss, by seed", unit="nats a token", values=values),),
            sources=tuple(run.source for name in (ours, found) for run in one.runs[name]),
        )


def _ratings(one: ChatComparison, ours: str, judged: Collection[JudgedRun]) -> Iterator[_Part]:
    """MT-Bench Inf, paired over questions."""
    runs = [run for run in judged if rated_as_paper(run) and answered(one, ours, run)]
    for name in LLAMA:
        if name == _OURS:
            continue
        other = method_of(one, name)
        parts = (part for run in runs if other is not None and (part := _rated(one, run, ours, other)) is not None)
        yield next(parts, _Part(verdict=Verdict.NOT_TESTED, why=f"no rating of {name} on {_QUESTIONS}"))


def _rated(one: ChatComparison, run: JudgedRun, ours: str, other: str) -> _Part | None:
    """SparseGrad's ratings beside another method's in one record; None where either is not rated there."""
    models = answered(one, ours, run), answered(one, other, run)
    found = run.paired(*models)
    if found.value is None:
        return None
    ends = "too few questions" if found.low is None else f"[{found.low:+.2f}, {found.high:+.2f}]"
    name = f"rating of {ours} minus {other}"
    return _Part(
        verdict=_above(found.low, found.high),
        why=f"{name} {found.value:+.2f} {ends} over {found.questions} questions of {run.questions}, by {run.judge}",
        value=found.value,
        samples=(Samples(name=f"{name}, by question", unit="points of 10", values=run.gaps(*models)),),
        sources=(run.source,),
    )


def _above(low: float | None, high: float | None) -> Verdict:
    if low is None or high is None:
        return Verdict.WITHIN_NOISE
    return Verdict.REPRODUCED if low > 0 else Verdict.NOT_REPRODUCED if high < 0 else Verdict.WITHIN_NOISE


def _overlooks(claim: PaperClaim, shelf: Shelf) -> Iterator[Finding]:
    """C16, from every report of a judge that rated both."""
    for one in shelf.chat:
        ours, lora = method_of(one, _OURS), method_of(one, "LoRA")
        for run in shelf.judged if ours and lora else ():
            part = _rated(one, run, str(ours), str(lora))
            if part is None or part.value is None:
                continue
            yield Finding(
                verdict=part.verdict,
                text=f"{part.value:+.2f}",
                sort=part.value,
                setting=f"{_setting(one)}; {run.questions}, judged by {run.judge}",
                of_claim=of_paper(one) and rated_as_paper(run),
                why=part.why,
                detail=behind(part.sources, part.samples, "mean over questions"),
                ended=run.record.ended,
            )


def _setting(one: ChatComparison) -> str:
    asked = one.record.config
    protocol = asked.get("protocol")
    name = protocol.get("name") if isinstance(protocol, dict) else None
    return f"{model_called(one.record)} on {Path(str(asked.get('data'))).name}, {name} protocol"


LLAMA_RULES: dict[str, Rule] = {"C15": _best, "C16": _overlooks}
