"""Rows of the paper's tables that runs can settle: cost (3), GLUE averages (4, 5), LLaMA (6), kept entries (11)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from statistics import fmean
from types import MappingProxyType

from bench.presets import PRESETS
from reports.behind import behind, bracketed, step_times
from reports.document import Claim, Samples, Verdict
from reports.paper.authors import student_prediction
from reports.paper.averages import average_of
from reports.paper.claims import LLAMA_COMMAND, SPARSITY_COMMAND, SPEED_COMMAND, PaperClaim, glue_command
from reports.paper.cost_rules import speed_setting
from reports.paper.findings import Finding, in_all, in_band, settle
from reports.paper.llama_rules import answered, method_of, of_paper, rated_as_paper
from reports.paper.printed import Printed, certain, disagree
from reports.paper.published import AVERAGES, COST, LLAMA, METHODS, SPARSITY_BERT, TASKS
from reports.paper.sizes import tuned_matrices
from reports.reading.settings import paper_model, setting_of
from reports.reading.shelf import Shelf
from reports.reading.sweep import Sweep

__all__ = ["average_rows", "cost_rows", "held_by_seeds", "kept_row", "llama_rows"]

_TENTH, _PEAK, _POINT = 0.10, 0.02, 0.5
_SEEDS, _ROUNDING, _WIDEST = 3, 0.05, 1.0
"""The paper's seeds; half of a printed digit; points either way beyond which an agreement says nothing."""
_NAMES = MappingProxyType({"lora": "LoRA", "sparsegrad-sd": "SparseGrad, SD", "sparsegrad-regular": "SparseGrad, Reg"})


def held_by_seeds(printed: Printed, by_seed: tuple[float, ...]) -> tuple[Verdict, float, float]:
    """Whether a printed mean of three seeds is where such means fall by these seeds, with 95% chance; and its ends.

    An interval wider than a point either way, which is as much as the paper's methods differ by, leaves it open.
    """
    low, high = student_prediction(by_seed, _SEEDS)
    if not printed.values:
        return Verdict.NO_VERDICT, low, high
    if not any(low - _ROUNDING <= value <= high + _ROUNDING for value in printed.values):
        return Verdict.NOT_REPRODUCED, low, high
    return (Verdict.REPRODUCED if high - low <= 2 * _WIDEST else Verdict.WITHIN_NOISE), low, high


def cost_rows(shelf: Shelf) -> Iterator[Claim]:
    """Table 3, as ratios to full fine-tuning: another GPU has other seconds."""
    full = [printed.values[0] for printed in COST["full"]]
    for method, name in _NAMES.items():
        speeds, peaks = (
            tuple(round(value / own, 2) for value in printed.values)
            for printed, own in zip(COST[method], full, strict=True)
        )
        claim = PaperClaim(
            id=f"T3-{method}",
            sentence=f"{name}: steps/s and peak memory over full fine-tuning's.",
            where="table 3",
            printed={"speed": _read(speeds), "peak": _read(peaks)},
            tolerance="95% interval of the speed ratio within a tenth of the printed one, peak ratio within 0.02",
            to_test=SPEED_COMMAND,
        )
        yield settle(claim, _costs(shelf, method, speeds, peaks))


def _read(values: tuple[float, ...]) -> Printed:
    return certain(*values) if len(values) == 1 else disagree(*values)


def _costs(shelf: Shelf, method: str, speeds: tuple[float, ...], peaks: tuple[float, ...]) -> Iterator[Finding]:
    for run in shelf.speed:
        ratio, peak = run.speed(method), run.peak_ratio(method)
        if paper_model(run.record) != "roberta-base" or ratio is None or peak is None:
            continue
        held = min(peaks) - _PEAK <= peak <= max(peaks) + _PEAK
        fast = in_band(ratio, (1 - _TENTH) * min(speeds), (1 + _TENTH) * max(speeds))
        yield Finding(
            verdict=in_all([fast, Verdict.REPRODUCED if held else Verdict.NOT_REPRODUCED]),
            text=f"speed {ratio.mean:.2f}x, peak {peak:.2f}x",
            sort=ratio.mean,
            setting=setting_of(run.record),
            of_claim=speed_setting(run),
            why=f"speed {ratio.mean:.2f}x {bracketed(ratio)}, peak {peak:.3f}x ({run.rows[method].peak_instrument})",
            detail=behind([run.source], [step_times(run.rows[name]) for name in (method, "full")]),
            ended=run.record.ended,
        )


def average_rows(shelf: Shelf) -> Iterator[Claim]:
    """Tables 4 and 5: the mean over GLUE's eight tasks."""
    for (method, model), printed in AVERAGES.items():
        table = "5" if model == "roberta-large" else "4"
        claim = PaperClaim(
            id=f"T{table}-{_short(method)}-{model}",
            sentence=f"{method} on {model}: mean over GLUE's eight tasks, points.",
            where=f"table {table}",
            printed={"mean": printed},
            tolerance="a reading where 95% of means of three seeds fall; open where that is over a point either way",
            to_test=glue_command(model),
        )
        yield settle(claim, _average(shelf, model, method, printed))


def _average(shelf: Shelf, model: str, method: str, printed: Printed) -> Iterator[Finding]:
    found = average_of(shelf, model, method)
    if found is None:
        return
    verdict, low, high = held_by_seeds(printed, found.by_seed)
    yield Finding(
        verdict=verdict,
        text=f"{found.mean:.1f}",
        sort=found.mean,
        interval=f"[{low:.1f}, {high:.1f}]",
        setting=f"{model}, {' and '.join(sorted(found.protocols))} protocol",
        of_claim=found.protocols == {"paper"},
        why=f"by {len(found.by_seed)} seeds, means of three more fall in [{low:.1f}, {high:.1f}]",
        detail=behind(found.sources, [Samples(name="by seed", unit="points", values=found.by_seed)]),
        ended=found.ended,
    )


def llama_rows(shelf: Shelf) -> Iterator[Claim]:
    """Table 6."""
    for method, (_, loss, score) in LLAMA.items():
        claim = PaperClaim(
            id=f"T6-{_short(method)}",
            sentence=f"{method} on LLaMA-2-7B: valid loss and MT-Bench Inf.",
            where="table 6",
            printed={"valid loss": loss, "MT-Bench Inf": score},
            tolerance="a reading within the 95% interval over conversations, and over questions",
            to_test=LLAMA_COMMAND,
        )
        yield settle(claim, _tuned(shelf, method, loss, score))


def _tuned(shelf: Shelf, method: str, loss: Printed, score: Printed) -> Iterator[Finding]:
    for one in shelf.chat:
        if (name := method_of(one, method)) is None:
            continue
        told = next(row["loss"] for row in one.rows if row["method"] == name)
        parts = [("valid loss", loss, told["mean"], told["low"], told["high"])]
        parts += [
            ("MT-Bench Inf", score, rating.mean, rating.low, rating.high)
            for run in shelf.judged
            if rated_as_paper(run)
            for rating in run.ratings
            if rating.mean is not None and rating.model in answered(one, name, run)
        ][:1]
        yield Finding(
            verdict=in_all([_inside(printed, low, high) for _, printed, _, low, high in parts]),
            text=", ".join(f"{what} {mean:.3f}" for what, _, mean, _, _ in parts),
            sort=told["mean"],
            setting=setting_of(one.record),
            of_claim=of_paper(one) and len(parts) > 1,
            why="; ".join(f"{what} {mean:.3f} {_ends(low, high)}" for what, _, mean, low, high in parts),
            detail=behind([run.source for run in one.runs[name]], note="mean over conversations"),
            ended=one.record.ended,
        )


def _inside(printed: Printed, low: float | None, high: float | None) -> Verdict:
    if low is None or high is None:
        return Verdict.WITHIN_NOISE
    held = any(low <= value <= high for value in printed.values)
    return Verdict.REPRODUCED if held else Verdict.NOT_REPRODUCED


def _ends(low: float | None, high: float | None) -> str:
    return "without an interval" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"


def kept_row(shelf: Shelf) -> Claim:
    """Table 11: five levels of kept entries on BERT."""
    claim = PaperClaim(
        id="T11",
        sentence="SparseGrad on BERT by kept entries a layer: mean over GLUE's eight tasks, points.",
        where="table 11",
        printed={_level_named(kept): value for kept, value in SPARSITY_BERT.items()},
        tolerance="every level within half a point of a reading",
        to_test=SPARSITY_COMMAND,
    )
    return settle(claim, (finding for sweep in shelf.sweeps if (finding := _kept(sweep)) is not None))


def _kept(sweep: Sweep) -> Finding | None:
    """None for another model, and where a level lacks one of the tasks."""
    if paper_model(sweep.record) != "bert-base" or sweep.synthetic:
        return None
    entries = tuned_matrices(PRESETS["bert-base"])[0]
    scores: Mapping[int | None, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for level in sweep.levels:
        for kept in SPARSITY_BERT if level.mean is not None and level.method in METHODS["SparseGrad"] else ():
            if math.isclose(level.share, 1.0 if kept is None else kept / entries, rel_tol=0.01):
                scores[kept][level.task].append(100 * (level.mean or 0.0))
    if any(set(scores[kept]) != set(TASKS) for kept in SPARSITY_BERT):
        return None
    means = {kept: fmean(map(fmean, own.values())) for kept, own in scores.items()}
    held = all(
        any(abs(means[kept] - value) <= _POINT for value in printed.values) for kept, printed in SPARSITY_BERT.items()
    )
    protocol = sweep.record.config.get("protocol")
    name = protocol.get("name") if isinstance(protocol, dict) else None
    told = ", ".join(f"{_level_named(kept)} {means[kept]:.1f}" for kept in SPARSITY_BERT)
    return Finding(
        verdict=Verdict.REPRODUCED if held else Verdict.NOT_REPRODUCED,
        text=told,
        sort=means[None],
        setting=f"{setting_of(sweep.record)}, {name} protocol",
        of_claim=name == "paper",
        why=told,
        detail=behind([sweep.source]),
        ended=sweep.record.ended,
    )


def _level_named(kept: int | None) -> str:
    return "all" if kept is None else f"{kept // 1000}k"


def _short(method: str) -> str:
    return method.lower().replace(" ", "-")
