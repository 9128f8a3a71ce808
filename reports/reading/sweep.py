"""Quality over kept entries: the levels of a sweep of ``eval.sparsity``, each paired with dense."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.record import Record
from reports.reading.fields import Fields, Unreadable
from reports.reading.folders import Source

__all__ = ["Level", "Sweep", "read_sweep"]


@dataclass(frozen=True, kw_only=True)
class Level:
    """One level of one method on one task. Scores and differences are hundredths; None is not measured."""

    task: str
    split: str
    method: str
    kept: str
    """As it was asked for: 18k, 1%, dense."""
    share: float
    """Of the tuned linears' entries."""
    mean: float | None
    difference: float | None
    """Minus dense."""
    low: float | None
    high: float | None
    verdict: str | None
    """better, worse, ``~``; None for dense itself, and where nothing pairs."""
    idle: bool
    """Not above one answer given to all: a tie with it says nothing. False where it is not known."""
    by_seed: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One sweep: Holm's correction was over all its levels."""

    source: Source
    levels: tuple[Level, ...]
    sentences: tuple[str, ...]
    """Its own verdicts, in words."""
    synthetic: bool
    """Of generated text: no verdict on the paper."""
    as_filed: bool
    """Its runs are not all at hand, or do not fit: differences and verdicts are those of its day."""

    @property
    def record(self) -> Record:
        """Where it comes from."""
        return self.source.record


def read_sweep(source: Source, again: Mapping[str, Any] | None = None) -> Sweep:
    """The sweep, of the result told ``again`` where it was; Unreadable where the record is none of eval.sparsity."""
    fields = Fields.of(source.record.result if again is None else again)
    levels = tuple(_level(row) for row in fields.each("rows"))
    if not levels:
        raise Unreadable("result.rows: none")
    told = [f"{one.text('task')} {one.text('method')}: {one.text('sentence')}" for one in fields.each("verdicts")]
    synthetic = fields.told.get("synthetic") is not False
    return Sweep(source=source, levels=levels, sentences=tuple(told), synthetic=synthetic, as_filed=again is None)


def _level(row: Fields) -> Level:
    difference, learned = row.inside_or_none("difference"), row.inside_or_none("over_constant")
    lead = None if learned is None else learned.number_or_none("low")
    return Level(
        task=row.text("task"),
        split=row.text("split"),
        method=row.text("base_method"),
        kept=row.text("kept"),
        share=row.at_least("share", 0.0),
        mean=row.inside("headline").number_or_none("mean"),
        difference=None if difference is None else difference.number("mean"),
        low=None if difference is None else difference.number_or_none("low"),
        high=None if difference is None else difference.number_or_none("high"),
        verdict=row.text_or_none("verdict"),
        idle=lead is not None and lead <= 0,
        by_seed=() if difference is None else difference.numbers("by_seed"),
    )
