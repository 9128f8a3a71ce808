"""A whole command of ``eval.glue``: verdicts by Holm over all its tasks, and what its rates cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.record import Record
from reports.reading.fields import Fields, Unreadable
from reports.reading.folders import Source

__all__ = ["Compared", "ComparedRow", "read_compared"]


@dataclass(frozen=True, kw_only=True)
class ComparedRow:
    """One method on one split. Scores and differences are hundredths; None is not measured."""

    task: str
    split: str
    method: str
    seeds: int
    lr: float | None
    mean: float | None
    difference: float | None
    low: float | None
    high: float | None
    p_holm: float | None
    verdict: str | None
    by_seed: tuple[float, ...]
    over_constant: float | None
    """Lower end of its score over that of one answer given to all."""
    trials: int | None
    trials_s: float | None
    forgetting: float | None
    """Rise of the masked-language-model loss on other text, nats a masked token."""
    forgetting_ends: tuple[float | None, float | None]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One command."""

    source: Source
    reference: str
    budget: str | None
    """What was made equal beside the steps: params, bytes, time."""
    rows: tuple[ComparedRow, ...]
    as_filed: bool
    """Its runs are not all at hand, or do not fit: differences and verdicts are those of its day."""

    @property
    def record(self) -> Record:
        """Where it comes from."""
        return self.source.record


def read_compared(source: Source, again: Mapping[str, Any] | None = None) -> Compared:
    """The comparison, of the result told ``again`` where it was; Unreadable where the record is none of eval.glue."""
    fields = Fields.of(source.record.result if again is None else again)
    rows = tuple(_row(row) for row in fields.each("rows"))
    if not rows:
        raise Unreadable("result.rows: none")
    budget = fields.text_or_none("budget")
    return Compared(source=source, reference=fields.text("reference"), budget=budget, rows=rows, as_filed=again is None)


def _row(row: Fields) -> ComparedRow:
    difference, learned = row.inside_or_none("difference"), row.inside_or_none("over_constant")
    forgetting = row.inside_or_none("forgetting")
    return ComparedRow(
        task=row.text("task"),
        split=row.text("split"),
        method=row.text("method"),
        seeds=len(row.numbers("seeds")),
        lr=row.number_or_none("lr"),
        mean=row.inside("headline").number_or_none("mean"),
        difference=None if difference is None else difference.number("mean"),
        low=None if difference is None else difference.number_or_none("low"),
        high=None if difference is None else difference.number_or_none("high"),
        p_holm=None if difference is None else difference.number_or_none("p_holm"),
        verdict=row.text_or_none("verdict"),
        by_seed=() if difference is None else difference.numbers("by_seed"),
        over_constant=None if learned is None else learned.number_or_none("low"),
        trials=row.count_or_none("trials"),
        trials_s=row.number_or_none("trials_s"),
        forgetting=None if forgetting is None else forgetting.number("mean"),
        forgetting_ends=(None, None)
        if forgetting is None
        else (forgetting.number_or_none("low"), forgetting.number_or_none("high")),
    )
