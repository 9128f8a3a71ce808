"""Quality, before and after: paired by item and seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bench.paired import paired_difference
from eval.metrics import headline
from eval.tasks import TASKS
from reports.against.change import Change
from reports.behind import behind
from reports.document import Samples
from reports.reading.places import same_workload
from reports.reading.quality import QualityRun
from reports.reading.settings import setting_of
from reports.reading.shelf import Shelf

__all__ = ["quality_changes"]


def quality_changes(before: Shelf, after: Shelf) -> Iterator[Change]:
    """Scores on the same items, from the same seeds."""
    earlier = _runs(before)
    for place, runs in _runs(after).items():
        known = earlier.get(place, {})
        pairs = [(known[seed], run) for seed, run in runs.items() if seed in known and _one_model(known[seed], run)]
        for split in TASKS[pairs[0][1].task].splits[1:] if pairs else ():
            if (change := _of_pairs(pairs, split)) is not None:
                yield change


def _one_model(was: QualityRun, now: QualityRun) -> bool:
    return was.record.fingerprints.get("model") == now.record.fingerprints.get("model")


def _runs(shelf: Shelf) -> dict[str, dict[int, QualityRun]]:
    """Reported runs that came to their end, by workload and method, then by seed."""
    found: dict[str, dict[int, QualityRun]] = {}
    for one in reversed(shelf.quality):
        for run in (run for runs in one.runs.values() for run in runs if run.record.result):
            found.setdefault(same_workload(run.record, but=("seed", "lr")), {})[run.seed] = run
    return found


def _of_pairs(pairs: Sequence[tuple[QualityRun, QualityRun]], split: str) -> Change | None:
    """None where the labels differ: then it is other data under the same name."""
    parts = [(was.record.result["splits"][split], now.record.result["splits"][split]) for was, now in pairs]
    labels = [part["labels"] for both in parts for part in both]
    if any(other != labels[0] for other in labels):
        return None
    run = pairs[0][1]
    was_SN, now_SN = (np.array([both[side]["predictions"] for both in parts]) for side in (0, 1))
    found = paired_difference(np.array(labels[0]), was_SN, now_SN, lambda y, p: headline(run.task, y, p))
    low, high = found.interval()
    spread = float(np.std(found.by_seed, ddof=1)) if len(found.by_seed) > 1 else 0.0
    by_seed = tuple(100 * value for value in found.by_seed)
    return Change(
        what=f"quality, {run.task} {split}",
        method=run.method,
        setting=setting_of(run.record),
        value=100 * found.mean,
        low=100 * low,
        high=100 * high,
        p_value=found.p_value,
        effect=found.mean / spread if spread else None,
        floor=0.0,
        higher_is_better=True,
        detail=behind(
            [one.source for both in pairs for one in both],
            [Samples(name="after minus before, by seed", unit="points", values=by_seed)],
        ),
    )
