"""From records to the rows of a comparison: valid loss, paired between methods on the same conversations and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ttest_1samp

from bench.paired import holm, paired_difference
from bench.record import Record, Status
from eval.compare import detectable, difference_json, ledger, over_seeds

__all__ = ["compare"]

_SIGNIFICANT = 0.05


def compare(runs: Mapping[str, Sequence[Record]], *, reference: str) -> list[dict[str, Any]]:
    """A row a method from its runs (one a seed), JSON types. A conversation is a tree: its branches count as one.

    ``loss``: nats a reply token, the mean over conversations, each weighing the same; low and high: 95% over
    conversations. ``difference``: to `reference`, below 0 is better; low and high over other conversations and other
    seeds, ``over_conversations`` with the seeds as they are. ``verdict``: better, worse or ``~`` by Holm's p over all
    methods; None where one seed tells nothing of others.
    """
    rows = [_row(method, records, None if method == reference else runs[reference]) for method, records in runs.items()]
    told = [row for row in rows if row["difference"] is not None and len(row["difference"]["by_seed"]) > 1]
    for row, p in zip(told, holm([row["difference"]["p"] for row in told]), strict=True):
        row["difference"]["p_holm"] = p
        row["difference"]["detectable"] = detectable(row["difference"], len(told))
        side = "better" if row["difference"]["mean"] < 0 else "worse"
        row["verdict"] = side if p < _SIGNIFICANT else "~"
    return rows


def _row(method: str, records: Sequence[Record], reference: Sequence[Record] | None) -> dict[str, Any]:
    good = [record for record in records if record.status is Status.OK]
    failed = [record for record in records if record.status is not Status.OK]
    first = good[0].result if good else {}
    whole, trainable = first.get("model_parameters"), first.get("trainable_parameters")
    return {
        "method": method,
        "status": str(failed[0].status if failed else Status.OK),
        "failures": [{"seed": record.seed, "status": str(record.status), "reason": record.reason} for record in failed],
        "seeds": [record.seed for record in good],
        "loss": _loss(good),
        "loss_by_token": over_seeds([record.result["valid_loss_by_token"] for record in good]),
        "conversations": len(first["conversations"]) if good else None,
        "difference": None if reference is None else _difference(good, reference),
        "verdict": None,
        "lr": records[0].config["lr"],
        "trainable_share": trainable / whole if whole and trainable is not None else None,
        **ledger(good),
        "saved": [record.result["saved"] for record in good],
        "records": [record.key for record in records],
    }


def _losses(record: Record) -> NDArray[np.float64]:
    return np.array(record.result["nll"]) / np.array(record.result["tokens"])


def _loss(good: Sequence[Record]) -> dict[str, Any]:
    losses = [_losses(record) for record in good]
    told = over_seeds([float(loss_N.mean()) for loss_N in losses])
    if not losses:
        return {**told, "low": None, "high": None}
    return {**told, **_interval(np.mean(losses, axis=0))}


def _interval(value_N: NDArray[np.float64]) -> dict[str, float]:
    """Student's 95% of the mean over conversations; the mean itself where all are equal."""
    if np.ptp(value_N) == 0:
        return {"low": float(value_N[0]), "high": float(value_N[0])}
    told = ttest_1samp(value_N, 0.0).confidence_interval(0.95)
    return {"low": float(told.low), "high": float(told.high)}


def _difference(good: Sequence[Record], reference: Sequence[Record]) -> dict[str, Any] | None:
    """Runs of the same seed, both ok; None without any."""
    by_seed = {record.seed: record for record in reference if record.status is Status.OK}
    pairs = [(by_seed[record.seed], record) for record in good if record.seed in by_seed]
    if not pairs:
        return None
    for ours, theirs in pairs:
        assert ours.result["conversations"] == theirs.result["conversations"], "other conversations have other keys"
    a_SN, b_SN = (np.array([_losses(pair[side]) for pair in pairs]) for side in (0, 1))
    # No labels: a conversation's "prediction" is its loss, and the metric their mean.
    found = paired_difference(np.zeros(a_SN.shape[1]), a_SN, b_SN, lambda _, loss_N: float(loss_N.mean()))
    told = difference_json(found)
    over_conversations = _interval((b_SN - a_SN).mean(axis=0))
    return {**told, "over_conversations": over_conversations, "detectable": None}
