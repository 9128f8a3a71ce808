"""The claim on how many entries must be kept, C10, from sweeps over kept entries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from eval.sparsity.levels import DENSE
from reports.behind import behind
from reports.document import Samples, Verdict
from reports.paper.claims import PaperClaim
from reports.paper.findings import Finding, Rule
from reports.paper.published import METHODS
from reports.reading.settings import model_called, paper_model
from reports.reading.shelf import Shelf
from reports.reading.sweep import Level, Sweep

__all__ = ["SPARSITY_RULES"]

# 22k of BERT's 768 x 3072 are 0.93%, 18k are 0.76%: between them the paper sees the decline begin.
_BEGINS = 0.009


def _decline(claim: PaperClaim, shelf: Shelf) -> Iterator[Finding]:
    """C10, task by task: worse than dense below the bound, not worse from it on. A loss above it speaks against the
    claim by itself. Where dense itself has not learned there is nothing to lose."""
    for sweep in shelf.sweeps:
        lost = {level.task for level in sweep.levels if level.kept == DENSE and level.idle}
        by_task: dict[tuple[str, str], list[Level]] = defaultdict(list)
        for level in sweep.levels:
            if level.method in METHODS["SparseGrad"] and level.task not in lost and _tells(level):
                by_task[level.task, level.method].append(level)
        for (task, method), levels in by_task.items():
            below = [level for level in levels if level.share < _BEGINS]
            above = [level for level in levels if level.share >= _BEGINS]
            if above and (below or any(level.verdict == "worse" for level in above)):
                yield _finding(sweep, task, method, below, above)


def _tells(level: Level) -> bool:
    """No better than one answer given to all, few entries have lost, a tie says nothing, and many have collapsed."""
    if level.verdict is None or not level.idle:
        return level.verdict is not None
    return level.verdict == "worse" and level.share < _BEGINS


def _finding(sweep: Sweep, task: str, method: str, below: Sequence[Level], above: Sequence[Level]) -> Finding:
    lost_above = [level for level in above if level.verdict == "worse"]
    lost_below = [level for level in below if level.verdict == "worse"]
    verdict = Verdict.WITHIN_NOISE
    if lost_above:
        verdict = Verdict.NOT_REPRODUCED
    elif len(lost_below) == len(below):
        verdict = Verdict.REPRODUCED
    highest = max(lost_above or below, key=lambda level: level.share)
    told = ", ".join(f"{level.kept} {level.verdict}" for level in sorted((*below, *above), key=lambda one: one.share))
    protocol = sweep.record.config.get("protocol")
    name = protocol.get("name") if isinstance(protocol, dict) else None
    difference = highest.difference or 0.0
    return Finding(
        verdict=verdict,
        text=f"{100 * difference:+.1f} points at {highest.kept}",
        sort=100 * difference,
        setting=f"{model_called(sweep.record)}, {name} protocol, {task}, {method}",
        of_claim=paper_model(sweep.record) == "bert-base" and name == "paper" and not sweep.synthetic,
        why=f"against dense, by Holm: {told}",
        detail=behind(
            [sweep.source],
            [
                Samples(name=f"{level.kept} minus dense, by seed", unit="points",
                        values=tuple(100 * value for value in level.by_seed))
                for level in (*below, *above)
            ],
        ),
        ended=sweep.record.ended,
    )  # fmt: skip


SPARSITY_RULES: dict[str, Rule] = {"C10": _decline}
