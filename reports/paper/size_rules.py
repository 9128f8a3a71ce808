"""The claims that counting settles, and what the preliminary phase costs: C18, C19, C20."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bench.presets import PRESETS
from reports.behind import behind
from reports.document import Verdict
from reports.paper.claims import PaperClaim
from reports.paper.findings import Finding, Rule, counted, in_all
from reports.paper.published import METHODS
from reports.paper.sizes import count_blocks, tuned_matrices
from reports.reading.preliminary import Preliminary
from reports.reading.settings import paper_model, setting_of
from reports.reading.shelf import Shelf

__all__ = ["SIZE_RULES"]

_PAPER_MODELS = ("bert-base", "roberta-base", "roberta-large", "llama-2-7b")
_STEPS = 30
_PRELIMINARY = {"bert-base": ("BERT, s", "BERT, MB", 1e6), "llama-2-7b": ("LLaMA, s", "LLaMA, GB", 1e9)}
"""Model -> the printed seconds and bytes, and the bytes of a unit."""
_KEPT = {"llama-2-7b": 100_000}
"""Entries a matrix; 1% of it elsewhere."""


def _half_in_mlp(claim: PaperClaim, shelf: Shelf) -> Iterator[Finding]:
    """C20."""
    for name in _PAPER_MODELS:
        blocks = count_blocks(PRESETS[name])
        share = blocks["MLP"] / blocks["full"]
        why = f"{blocks['MLP'] / 1e6:,.1f}M of {blocks['full'] / 1e6:,.1f}M parameters"
        yield counted(name, 0.45 <= share <= 0.55, text=f"{share:.1%}", value=share, why=why)


def _updated_share(claim: PaperClaim, shelf: Shelf) -> Iterator[Finding]:
    """C19: from records where a model of the paper's was trained, and counted for all four."""
    for name in _PAPER_MODELS:
        matrices, full = tuned_matrices(PRESETS[name]), count_blocks(PRESETS[name])["full"]
        kept = sum(_KEPT.get(name, round(0.01 * entries)) for entries in matrices)
        yield _share(kept / full, name, f"{kept / 1e6:.2f}M of {full / 1e6:,.0f}M weights a step")
    for group in shelf.peaks:
        model = paper_model(group.record)
        row = next((group.peaks[name] for name in METHODS["SparseGrad"] if name in group.peaks), None)
        if model not in _PAPER_MODELS or row is None or row.updated_parameters is None:
            continue
        full = count_blocks(PRESETS[model])["full"]
        why = f"{row.updated_parameters / 1e6:.2f}M of {full / 1e6:,.0f}M weights a step, the new head among them"
        setting = f"{row.method}, {setting_of(row.record)}"
        found = _share(row.updated_parameters / full, model, why)
        yield replace(found, setting=setting, detail=behind([row.source]), ended=row.record.ended)


def _share(share: float, model: str, why: str) -> Finding:
    return counted(model, 0.0005 <= share < 0.0015, text=f"{share:.2%}", value=share, why=why)


def _preliminary(claim: PaperClaim, shelf: Shelf) -> Iterator[Finding]:
    """C18. The paper stacks all gradients; streamed, the same bases come another way, which is shown beside."""
    for run in shelf.preliminary:
        model = paper_model(run.record)
        if run.steps != _STEPS or model not in _PRELIMINARY:
            continue
        seconds, size, unit = _PRELIMINARY[model]
        parts = [_seconds_held(run, claim.printed[seconds].value), _bytes_held(run, claim.printed[size].value, unit)]
        told = "time n/a" if run.seconds is None else f"{run.seconds:.0f} s"
        shown = f"{(run.own_bytes or run.stack_bytes) / unit:,.1f} {size.rsplit(' ', 1)[-1]}"
        yield Finding(
            verdict=in_all([verdict for verdict, _ in parts]),
            text=f"{told}, {shown}" if run.own_bytes else f"{told}, {shown} computed",
            sort=run.seconds,
            setting=f"{setting_of(run.record)}, {run.mode}, {run.steps} batches",
            of_claim=run.mode == "stacked" and run.record.environment.get("device") == "cpu",
            why="; ".join(why for _, why in parts),
            detail=behind([run.source]),
            ended=run.record.ended,
        )


def _seconds_held(run: Preliminary, printed: float | None) -> tuple[Verdict, str]:
    """Within a factor of two: another processor."""
    if run.seconds is None or printed is None:
        return Verdict.NOT_TESTED, "its time was not measured"
    held = 0.5 <= run.seconds / printed <= 2
    return Verdict.REPRODUCED if held else Verdict.NOT_REPRODUCED, f"{run.seconds:.1f} s"


def _bytes_held(run: Preliminary, printed: float | None, unit: float) -> tuple[Verdict, str]:
    """Within a tenth. Not measured, the stack that it must hold is a lower bound: above the band it refutes, below it
    decides nothing."""
    own = run.own_bytes
    if printed is None:
        return Verdict.NOT_TESTED, "no figure printed"
    factor = (run.stack_bytes if own is None else own) / unit / printed
    if own is None:
        verdict = Verdict.NOT_REPRODUCED if factor > 1.1 else Verdict.NOT_TESTED
        return verdict, f"{run.stack_bytes / 1e6:,.0f} MB in one role's stack alone, {run.how}"
    verdict = Verdict.REPRODUCED if 0.9 <= factor <= 1.1 else Verdict.NOT_REPRODUCED
    return verdict, f"{own / 1e6:,.0f} MB of tensors beside the model"


SIZE_RULES: dict[str, Rule] = {"C18": _preliminary, "C19": _updated_share, "C20": _half_in_mlp}
