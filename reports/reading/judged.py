"""MT-Bench records: each model's mean rating with its interval, as ``eval.mtbench`` filed it."""

from __future__ import annotations

from dataclasses import dataclass

from bench.record import Record
from reports.reading.fields import Fields
from reports.reading.folders import Source

__all__ = ["JudgedRun", "Rating", "read_judged"]


@dataclass(frozen=True, kw_only=True)
class Rating:
    """One model's ratings, 1 to 10. None: too few scored questions."""

    model: str
    mean: float | None
    low: float | None
    high: float | None
    questions: int | None
    scored: int | None
    attempted: int | None


@dataclass(frozen=True, kw_only=True)
class JudgedRun:
    """One report of a judge: its models were rated by the same protocol, and may be compared."""

    source: Source
    judge: str
    ratings: tuple[Rating, ...]
    differences: tuple[tuple[str, str, float | None, float | None, float | None, str], ...]
    """(model, from, difference, low, high, verdict), paired over questions."""
    labels: tuple[str, ...]

    @property
    def record(self) -> Record:
        """Where it comes from."""
        return self.source.record


def read_judged(source: Source) -> JudgedRun:
    """The run; Unreadable where the record is none of ``eval.mtbench``."""
    fields = Fields.of(source.record.result)
    asked = Fields.of(source.record.config, "config")
    return JudgedRun(
        source=source,
        judge=asked.text_or_none("judge") or "unknown judge",
        ratings=tuple(_rating(model) for model in fields.each("models")),
        differences=tuple(
            (
                one.text("model"),
                one.text("from"),
                one.number_or_none("value"),
                one.number_or_none("low"),
                one.number_or_none("high"),
                one.text("verdict"),
            )
            for one in fields.each("differences")
        ),
        labels=fields.texts("labels"),
    )


def _rating(model: Fields) -> Rating:
    mean = model.inside("mean")
    return Rating(
        model=model.text("model"),
        mean=mean.number_or_none("value"),
        low=mean.number_or_none("low"),
        high=mean.number_or_none("high"),
        questions=mean.count_or_none("questions"),
        scored=model.count_or_none("scored"),
        attempted=model.count_or_none("attempted"),
    )
