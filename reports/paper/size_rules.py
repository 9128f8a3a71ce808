"""The claims that counting settles, and what the preliminary phase costs: C18, C19, C20."""

from __future__ import annotations

from collections.abc import Iterator

from bench.presets import PRESETS
from reports.behind import behind
from reports.document import Verdict
from reports.paper.claims import PaperClaim
from reports.paper.findings import Finding, Rule
from reports.paper.published import METHODS
from reports.paper.sizes import count_blocks, tuned_matrices
from reports.reading.settings import paper_model, setting_of
from reports.reading.shelf import Shelf

__all__ = ["SIZE_RULES"]

_PAPER_MODELS = ("bert-base", "roberta-base", "roberta-large", "llama-2-7b")
_BERT_SHAPES = ("bert-base", "roberta-base")
_STEPS = 30
_KEPT = {"llama-2-7b": 100_000}
"""Entries a matrix; 1% of it elsewhere."""


def _half_in_mlp(claim: PaperClaim, shelf: Shelf) -> Iterator[Finding]:
    """C20."""
    for name in _PAPER_MODELS:
        blocks = count_blocks(PRESETS[name])
        share = blocks["MLP"] / blocks["full"]
        held = 0.45 <= share <= 0.55
        yield Finding(
            verdict=Verdict.REPRODUCED if held else Verdict.NOT_REPRODUCED,
            text=f"{share:.1%}",
            sort=share,
            setting=f"counted, {name}",
            of_claim=True,
            why=f"{blocks['MLP'] / 1e6:,.1f}M of {blocks['full'] / 1e6:,.1f}M parameters",
        )


def _updated_share(claim: PaperClaim, shelf: Shelf) -> Iterator[Finding]:
    """C19: from records where a model of the paper's was trained, and counted for all four."""
    for name in _PAPER_MODELS:
        matrices, full = tuned_matrices(PRESETS[name]), count_blocks(PRESETS[name])["full"]
        kept = sum(_KEPT.get(name, round(0.01 * entries)) for entries in matrices)
        yield _share(kept / full, f"counted, {name}", f"{kept / 1e6:.2f}M of {full / 1e6:,.0f}M weights a step")
    for group in shelf.peaks:
        model = paper_model(group.record)
        row = next((group.peaks[name] for name in METHODS["SparseGrad"] if name in group.peaks), None)
        if model not in _PAPER_MODELS or row is None or row.updated_parameters is None:
            continue
        full = count_blocks(PRESETS[model])["full"]
        why = f"{row.updated_parameters / 1e6:.2f}M of {full / 1e6:,.0f}M weights a step, the new head among them"
        found = _share(row.updated_parameters / full, f"{row.method}, {setting_of(row.record)}", why)
        yield Finding(**{**vars(found), "detail": behind([row.source]), "ended": row.record.ended})


def _share(share: float, setting: str, why: str) -> Finding:
    return Finding(
        verdict=Verdict.REPRODUCED if 0.0005 <= share < 0.0015 else Verdict.NOT_REPRODUCED,
        text=f"{share:.2%}",
        sort=share,
        setting=setting,
        of_claim=True,
        why=why,
    )


def _preliminary(claim: PaperClaim, shelf: Shelf) -> Iterator[Finding]:
    """C18. The calibration here is streamed: it takes the bytes of no stack, and is another way to the same bases."""
    printed = claim.printed["BERT, s"].value
    for run in shelf.calibrations:
        model = paper_model(run.record)
        if run.steps != _STEPS or model not in _BERT_SHAPES or printed is None:
            continue
        factor = run.seconds / printed
        yield Finding(
            verdict=Verdict.REPRODUCED if 0.5 <= factor <= 2 else Verdict.NOT_REPRODUCED,
            text=f"{run.seconds:.0f} s",
            sort=run.seconds,
            setting=f"{setting_of(run.record)}, {run.basis or 'unnamed'} bases, {run.steps} batches",
            of_claim=model == "bert-base" and run.record.environment.get("device") == "cpu",
            why=f"{run.seconds:.1f} s, streamed, for {run.steps} batches",
            detail=behind([run.source]),
            ended=run.record.ended,
        )


SIZE_RULES: dict[str, Rule] = {"C18": _preliminary, "C19": _updated_share, "C20": _half_in_mlp}
