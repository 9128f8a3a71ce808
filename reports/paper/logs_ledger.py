"""The authors' own logs against their paper: printed averages, who leads, and what it costs in CUDA memory."""

from __future__ import annotations

from collections.abc import Iterator

from bench.stats import ratio_interval
from reports.behind import bracketed
from reports.document import Cell, CellStatus, Certainty, Claim, Detail, Ledger, Samples, Verdict
from reports.paper.authors import LOG_METHODS, LoggedDifference, Logs
from reports.paper.published import AVERAGES, MODELS
from reports.paper.table_rows import held_by_seeds

__all__ = ["ledger_of_logs"]

_TITLE = "The paper against its authors' logs, pair by pair"
# (claim, sentence, method, over, model, printed saving's span as peak ratio)
_PEAKS = (
    ("C9", "LoRA saves 30% of full fine-tuning's peak memory.", "LoRA", "Regular FT", 0.68, 0.72),
    ("C9", "SparseGrad saves 20% (24%) of full fine-tuning's peak memory.", "SparseGrad", "Regular FT", 0.74, 0.82),
    ("C17", "Memory requirements are identical to LoRA's.", "SparseGrad", "LoRA", 0.95, 1.05),
)


def ledger_of_logs(logs: Logs) -> Ledger:
    """One row a printed average, a claim of quality, and a claim of memory, wherever the logs are complete."""
    return Ledger(title=_TITLE, claims=(*_leads(logs), *_memory(logs), *_averages(logs)))


def _leads(logs: Logs) -> Iterator[Claim]:
    """C11 and C12, model by model."""
    wanted = [("C11", "LoRA", model) for model in MODELS] + [("C12", "Regular FT", "bert-base")]
    for claim, over, model in wanted:
        tasks = logs.tasks(model, "sparse", LOG_METHODS[over])
        if not tasks:
            continue
        try:
            found = logs.difference(model, "sparse", LOG_METHODS[over])
        except ValueError:  # the logs are partial: no seed has every task
            continue
        yield Claim(
            id=f"L-{claim}-{model}",
            sentence=f"SparseGrad beats {over} on {model}.",
            place="5.1 against the logs",
            published="a direction, no figure",
            certainty=Certainty.CERTAIN,
            tolerance="95% interval over seeds of the mean over tasks above 0",
            measured=(_difference_cell(found, f"SparseGrad minus {over}, by seed"),),
            verdict=_side(found),
            why=(
                f"Mean over {len(found.tasks)} tasks and {len(found.by_seed)} seeds, paired: {found.mean:+.2f} points "
                f"[{found.low:+.2f}, {found.high:+.2f}], p {found.p_value:.2g}."
            ),
        )


def _side(found: LoggedDifference) -> Verdict:
    if found.low > 0:
        return Verdict.REPRODUCED
    return Verdict.NOT_REPRODUCED if found.high < 0 else Verdict.WITHIN_NOISE


def _difference_cell(found: LoggedDifference, name: str) -> Cell:
    return Cell(
        text=f"{found.mean:+.2f} points",
        sort=found.mean,
        status=CellStatus.NOISE if _side(found) is Verdict.WITHIN_NOISE else CellStatus.OK,
        interval=f"[{found.low:+.2f}, {found.high:+.2f}]",
        reason=f"logs, {', '.join(found.tasks)}",
        detail=Detail(runs=(), samples=(Samples(name=name, unit="points", values=found.by_seed),)),
    )


def _memory(logs: Logs) -> Iterator[Claim]:
    """C9 and C17 by the peaks that the logs hold: CUDA memory, which no other run at hand need have."""
    for claim, sentence, method, over, low, high in _PEAKS:
        for model in MODELS[:2]:
            ours, theirs = logs.peak_ratios(model, LOG_METHODS[method], LOG_METHODS[over])
            if not ours:
                continue
            ratio = ratio_interval(ours, theirs)
            inside, outside = low <= ratio.low and ratio.high <= high, ratio.high < low or ratio.low > high
            yield Claim(
                id=f"L-{claim}-{method.lower()}-{model}",
                sentence=sentence,
                place="4 and abstract against the logs",
                published=f"{low:.2f}x to {high:.2f}x",
                certainty=Certainty.CERTAIN,
                tolerance="95% interval over tasks within that band: within noise where it crosses an end",
                measured=(
                    Cell(
                        text=f"{ratio.mean:.2f}x",
                        sort=ratio.mean,
                        interval=bracketed(ratio),
                        reason=f"logs, {model}, {len(ours)} tasks",
                        detail=Detail(
                            runs=(),
                            samples=(
                                Samples(name=f"{method}: peak by task, mean over seeds", unit="MiB", values=ours),
                                Samples(name=f"{over}: peak by task, mean over seeds", unit="MiB", values=theirs),
                            ),
                        ),
                    ),
                ),
                verdict=(Verdict.REPRODUCED if inside else Verdict.NOT_REPRODUCED if outside else Verdict.WITHIN_NOISE),
                why=f"{method} over {over}, {model}: {ratio.mean:.3f}x {bracketed(ratio)} over {len(ours)} tasks.",
            )


def _averages(logs: Logs) -> Iterator[Claim]:
    """Tables 4 and 5: does the printed average lie within what the logs' seeds allow?"""
    for (method, model), printed in AVERAGES.items():
        if method not in LOG_METHODS or (average := logs.average(model, LOG_METHODS[method])) is None:
            continue
        by_seed = logs.by_seed(model, LOG_METHODS[method])
        verdict, low, high = held_by_seeds(printed, by_seed)
        cell = Cell(
            text=f"{average:.1f}",
            sort=average,
            interval=f"[{low:.1f}, {high:.1f}]",
            reason="logs, mean over eight tasks; 95% of means of three further seeds fall there",
            detail=Detail(runs=(), samples=(Samples(name=f"{method}, by seed", unit="points", values=by_seed),)),
        )
        yield Claim(
            id=f"L-T4-{method.lower().replace(' ', '-')}-{model}",
            sentence=f"{method} scores {printed.told()} on {model}, mean over GLUE.",
            place="tables 4 and 5 against the logs",
            published=printed.told(),
            certainty=printed.certainty,
            tolerance="a reading where 95% of means of three seeds fall by the logs; open where that is more than a "
            "point either way",
            measured=(cell,),
            verdict=verdict,
            why=(
                f"The logs' mean is {average:.2f} over {len(by_seed)} seeds; means of three seeds fall within "
                f"[{low:.2f}, {high:.2f}]."
            ),
        )
