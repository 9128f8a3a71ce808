"""The claims on speed and memory, and on what the layer's products may not change: C3, C5 to C9, C17."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from bench.stats import RatioInterval
from reports.behind import behind, bracketed, step_times
from reports.document import Verdict
from reports.paper.claims import PaperClaim
from reports.paper.findings import Finding, Rule, in_band, told_side
from reports.reading.memory import PeakGroup
from reports.reading.settings import on_cuda, paper_model, setting_of
from reports.reading.shelf import Shelf
from reports.reading.speed import SpeedRun

__all__ = ["COST_RULES", "speed_setting"]

Pair = tuple[str, str, float, float]
"""Method, over, and the band of their peak ratio."""
_SD, _REGULAR = "sparsegrad-sd", "sparsegrad-regular"
# A peak is one reading of an exact counter, with no spread: printed figures are rounded to a hundredth of the ratio,
# and library versions move as much.
_PEAK_TOLERANCE = 0.02
_IDENTICAL = 0.05
# First losses pass through products in another order: relative rounding by dtype, with room for a dozen layers.
_ROUNDING = {"fp32": 1e-4, "bf16": 3e-2}


def _faster_product(claim: PaperClaim, shelf: Shelf) -> Iterator[Finding]:
    """C6."""
    for run in shelf.speed:
        if (ratio := run.speed(_SD, _REGULAR)) is not None:
            verdict = in_band(ratio, 4.5, 5.1)
            yield _of_speed(run, ratio, verdict, (_SD, _REGULAR), "SD over Reg, steps a second")


def _speed_order(claim: PaperClaim, shelf: Shelf) -> Iterator[Finding]:
    """C8."""
    for run in shelf.speed:
        first, second = run.speed("lora", _SD), run.speed(_SD)
        if first is None or second is None:
            continue
        verdict = told_side([run.told("lora", _SD), run.told(_SD)], "faster")
        why = (
            f"LoRA over SparseGrad {first.mean:.2f}x {bracketed(first)}, SparseGrad over full {second.mean:.2f}x "
            f"{bracketed(second)}"
        )
        text = f"lora {first.mean:.2f}x {_SD}, {_SD} {second.mean:.2f}x full"
        yield replace(_of_speed(run, second, verdict, ("lora", _SD, "full"), why), text=text, interval=None)


def _of_speed(run: SpeedRun, ratio: RatioInterval, verdict: Verdict, methods: tuple[str, ...], why: str) -> Finding:
    return Finding(
        verdict=verdict,
        text=f"{ratio.mean:.2f}x",
        sort=ratio.mean,
        interval=bracketed(ratio),
        setting=setting_of(run.record),
        of_claim=speed_setting(run),
        why=why if "x [" in why else f"{why}: {ratio.mean:.2f}x {bracketed(ratio)} over {ratio.rounds} rounds",
        detail=behind([run.source], [step_times(run.rows[name]) for name in methods if name in run.rows]),
        ended=run.record.ended,
    )


def speed_setting(run: SpeedRun) -> bool:
    """Table 3's: RoBERTa-base on GLUE text padded to the maximum, on a GPU."""
    asked = run.record.config
    return (
        on_cuda(run.record)
        and paper_model(run.record) == "roberta-base"
        and isinstance(asked.get("task"), str)
        and asked.get("padding") == "max"
    )


def _peaks(*pairs: Pair) -> Rule:
    """The rule that every pair's ratio (method, over) lies within [low, high]; one that does not is enough to fail."""

    def rule(claim: PaperClaim, shelf: Shelf) -> Iterator[Finding]:
        for group in shelf.peaks:
            ratios = [group.ratio(method, over) for method, over, _, _ in pairs]
            known = [(ratio, pair) for ratio, pair in zip(ratios, pairs, strict=True) if ratio is not None]
            held = all(low <= ratio <= high for ratio, (_, _, low, high) in known)
            if held and len(known) < len(pairs):
                continue
            yield _of_peaks(group, known, held)

    return rule


def _of_peaks(group: PeakGroup, known: Sequence[tuple[float, Pair]], held: bool) -> Finding:
    record = group.record
    instrument = group.instrument
    told = ", ".join(f"{method} {ratio:.3f}x {over}" for ratio, (method, over, _, _) in known)
    methods = {name for _, pair in known for name in pair[:2]}
    return Finding(
        verdict=Verdict.REPRODUCED if held else Verdict.NOT_REPRODUCED,
        text=", ".join(f"{method} {ratio:.2f}x {over}" for ratio, (method, over, _, _) in known),
        sort=known[0][0],
        setting=f"{setting_of(record)}; instrument: {instrument}",
        of_claim=instrument.startswith("cuda") and on_cuda(record) and paper_model(record) == "roberta-base",
        why=told if instrument.startswith("cuda") else f"by another instrument than CUDA's allocator, {told}",
        detail=behind(group.peaks[name].source for name in sorted(methods & group.peaks.keys())),
        ended=record.ended,
    )


def _zero_rows(claim: PaperClaim, shelf: Shelf) -> Iterator[Finding]:
    """C3. The rows are tokens: exact zeros come of padding, and the share of padding is told beside."""
    for run in shelf.speed:
        share = run.zero_row_share
        if share is None:
            continue
        padding = "" if run.active_token_share is None else f"; {1 - run.active_token_share:.3f} of all is padding"
        yield Finding(
            verdict=Verdict.REPRODUCED if share > 0.5 else Verdict.NOT_REPRODUCED,
            text=f"{share:.1%} zero rows",
            sort=share,
            setting=setting_of(run.record),
            of_claim=isinstance(run.record.config.get("task"), str) and run.record.config.get("padding") == "max",
            why=f"{share:.3f} of the rows of dL/dy are exactly zero{padding}",
            detail=behind([run.source]),
            ended=run.record.ended,
        )


def _same_outputs(claim: PaperClaim, shelf: Shelf) -> Iterator[Finding]:
    """C5: a law, which any setting may test."""
    for run in shelf.speed:
        full = run.rows.get("full")
        rotated = [row for row in run.rows.values() if row.method in (_SD, _REGULAR) and row.losses]
        if full is None or not full.losses or not rotated:
            continue
        gap = max(abs(row.losses[0] - full.losses[0]) for row in rotated)
        dtype = str(run.record.config.get("dtype"))
        allowed = _ROUNDING.get(dtype, _ROUNDING["fp32"]) * max(abs(full.losses[0]), 1e-3)
        yield Finding(
            verdict=Verdict.REPRODUCED if gap <= allowed else Verdict.NOT_REPRODUCED,
            text=f"losses {gap:.1g} apart",
            sort=gap,
            setting=setting_of(run.record),
            of_claim=True,
            why=f"first losses differ by {gap:.1e} of {full.losses[0]:.3f} ({dtype}: {allowed:.1e} is rounding)",
            detail=behind([run.source]),
            ended=run.record.ended,
        )


def _near(ratio: float, top: float | None = None) -> tuple[float, float]:
    """The band of a printed peak ratio, or of two that the paper prints of one thing."""
    return ratio - _PEAK_TOLERANCE, (top or ratio) + _PEAK_TOLERANCE


COST_RULES: dict[str, Rule] = {
    "C3": _zero_rows,
    "C5": _same_outputs,
    "C6": _faster_product,
    "C7": _peaks((_SD, _REGULAR, *_near(0.84, 0.88))),
    "C8": _speed_order,
    "C9": _peaks(("lora", "full", *_near(0.70)), (_SD, "full", *_near(0.76, 0.80))),
    "C17": _peaks(*((_SD, other, 1 - _IDENTICAL, 1 + _IDENTICAL) for other in ("lora", "meprop"))),
}
