"""From the records of one task's cells to the rows of a comparison: JSON types, one row a method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np

from bench.paired import PairedDifference, holm, paired_difference
from bench.record import Record, Status
from bench.stats import detectable_shift
from eval.chance import over_constant
from eval.forgetting import forgotten
from eval.metrics import TASK_METRICS, headline
from eval.tasks import TASKS

__all__ = [
    "adjust",
    "charge",
    "compare",
    "detectable",
    "difference_json",
    "ledger",
    "over_seeds",
    "paired",
    "paired_runs",
]

_SIGNIFICANT = 0.05


def compare(task: str, runs: Mapping[str, Sequence[Record]], *, reference: str, margin: float) -> list[dict[str, Any]]:
    """A row a reported split and method from the method's runs (one a seed): scores, difference, ledger.

    Arguments:
        reference: the method that paired differences are taken to.
        margin: a method is non-inferior where the lower 95% bound of its difference is above -margin.
    Verdicts are not there yet: they take all comparisons of a command together, see `adjust`.
    """
    return [
        _row(task, split, method, records, None if method == reference else runs[reference], margin)
        for split in TASKS[task].splits[1:]
        for method, records in runs.items()
    ]


def adjust(rows: Sequence[dict[str, Any]]) -> None:
    """Fill in Holm's p-value and the verdict of all comparisons of a command, in place.

    better, worse: adjusted p below 0.05. `~`: a tie, as far as these items and seeds tell: `detectable`, the smallest
    true difference that is found four times out of five at Holm's strictest step, 0.05 over the number of comparisons.
    """
    told = [row for row in rows if row["difference"] is not None]
    adjusted = holm([row["difference"]["p"] for row in told])
    for row, p in zip(told, adjusted, strict=True):
        row["difference"]["p_holm"] = p
        row["difference"]["detectable"] = detectable(row["difference"], len(told))
        side = "better" if row["difference"]["mean"] > 0 else "worse"
        row["verdict"] = side if p < _SIGNIFICANT else "~"


def charge(rows: Sequence[dict[str, Any]], trials: Mapping[str, Sequence[Record]]) -> None:
    """Add to each row's ledger, in place, what choosing its rate cost: trials, and the seconds of those that ran."""
    for row in rows:
        tried = trials[row["method"]]
        ran = [record.result for record in tried if record.status is Status.OK]
        row["trials"] = len(tried)
        row["trials_s"] = sum(result["train_s"] for result in ran)


def _row(
    task: str,
    split: str,
    method: str,
    records: Sequence[Record],
    reference: Sequence[Record] | None,
    margin: float,
) -> dict[str, Any]:
    good = [record for record in records if record.status is Status.OK]
    failed = [record for record in records if record.status is not Status.OK]
    parts = [record.result["splits"][split] for record in good]
    found = None if reference is None else paired(task, split, records, reference)
    learned = over_constant(task, parts)
    return {
        "task": task,
        "split": split,
        "method": method,
        "status": str(failed[0].status if failed else Status.OK),
        "failures": [{"seed": record.seed, "status": str(record.status), "reason": record.reason} for record in failed],
        "seeds": [record.seed for record in good],
        "metrics": {name: over_seeds([part["scores"][name] for part in parts]) for name in TASK_METRICS[task]},
        "headline": over_seeds([part["headline"] for part in parts]),
        "over_constant": None if learned is None else difference_json(learned),
        "difference": None if found is None else _difference(found, margin),
        "verdict": None,
        "lr": records[0].config["lr"],
        "batch_size": records[0].config["protocol"]["batch_size"],
        "lora_rank": records[0].config["lora_rank"],
        **ledger(good),
        "forgetting": forgotten(good),
        "records": [record.key for record in records],
    }


def paired_runs(
    records: Sequence[Record], reference: Sequence[Record], split: str
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Labels, predictions and scores of runs of the same seed, reference first, both ok."""
    by_seed = {record.seed: record for record in reference if record.status is Status.OK}
    pairs = [(by_seed[r.seed], r) for r in records if r.status is Status.OK and r.seed in by_seed]
    return [(a.result["splits"][split], b.result["splits"][split]) for a, b in pairs]


def paired(task: str, split: str, records: Sequence[Record], reference: Sequence[Record]) -> PairedDifference | None:
    """The runs' headline metric minus the reference's, over items and seeds; None where no seed of both ended well."""
    pairs = paired_runs(records, reference, split)
    if not pairs:
        return None
    label_N = np.array(pairs[0][0]["labels"])
    a_SN, b_SN = (np.array([pair[side]["predictions"] for pair in pairs]) for side in (0, 1))
    return paired_difference(label_N, a_SN, b_SN, lambda label, told: headline(task, label, told))


def _difference(found: PairedDifference, margin: float) -> dict[str, Any]:
    return {
        **difference_json(found),
        "lower_bound": _finite(found.lower_bound()),
        "margin": margin,
        "non_inferior": found.lower_bound() > -margin,
        "detectable": None,  # as the verdict, it takes all comparisons: see `adjust`
    }


def detectable(told: Mapping[str, Any], comparisons: int) -> float | None:
    """By a difference's figures, the smallest true one that is found four times out of five at Holm's strictest step.

    None where nothing was tested: one seed, or the same answers throughout.
    """
    if not told["standard_error"]:  # None: infinite
        return None
    freedom = math.inf if told["freedom"] is None else told["freedom"]
    return _finite(detectable_shift(told["standard_error"], freedom, confidence=1 - _SIGNIFICANT / comparisons))


def difference_json(found: PairedDifference) -> dict[str, Any]:
    """Figures of a difference as JSON types; what is not finite is None."""
    low, high = found.interval()
    return {
        "mean": found.mean,
        "low": _finite(low),
        "high": _finite(high),
        "p": found.p_value,
        "p_holm": None,
        "by_seed": list(found.by_seed),
        "item_error": _finite(found.item_error),
        "seed_error": _finite(found.seed_error),
        "standard_error": _finite(found.standard_error),
        "freedom": _finite(found.freedom),
    }


def _finite(number: float) -> float | None:
    return number if np.isfinite(number) else None


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """Mean and sample standard deviation over seeds; what one value does not have is None."""
    return {
        "mean": fmean(values) if values else None,
        "sd": stdev(values) if len(values) > 1 else None,
        "by_seed": list(values),
    }


def ledger(records: Sequence[Record]) -> dict[str, Any]:
    """What the method costs: parameters, seconds (means over seeds), peak bytes (the highest)."""
    results = [record.result for record in records]
    peaks = [result["peak"] for result in results if result["peak"] is not None]
    first = results[0] if results else {}
    return {
        "trainable_parameters": first.get("trainable_parameters"),
        "updated_parameters": first.get("updated_parameters"),
        "adapter_bytes": first.get("adapter_bytes"),
        "steps": [result["steps"] for result in results],
        "train_s": fmean(result["train_s"] for result in results) if results else None,
        "calibration_s": fmean(result.get("calibration_s", 0.0) for result in results) if results else None,
        "peak_bytes": max((peak["peak_bytes"] for peak in peaks), default=None),
        "peak_instrument": peaks[0]["instrument"] if peaks else None,
    }
