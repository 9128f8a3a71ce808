"""A judge held against scores that are known, as ``eval.mtbench --calibrate`` filed it."""

from __future__ import annotations

from dataclasses import dataclass

from bench.record import Record
from reports.reading.fields import Fields
from reports.reading.folders import Source

__all__ = ["Agreement", "JudgeCheck", "read_judge_check"]

Ends = tuple[float | None, float | None, float | None]
"""Value, low and high of the 95% interval over questions; None: too few."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Of all ratings, or of one turn's."""

    name: str
    ratings: int | None
    known_mean: float | None
    new_mean: float | None
    bias: Ends
    mean_absolute_error: Ends
    rank_correlation: Ends


@dataclass(frozen=True, kw_only=True)
class JudgeCheck:
    """One judge."""

    source: Source
    judge: str
    rows: tuple[Agreement, ...]
    notes: tuple[str, ...]

    @property
    def record(self) -> Record:
        """Where it comes from."""
        return self.source.record


def read_judge_check(source: Source) -> JudgeCheck:
    """The check; Unreadable where the record is none of ``eval.mtbench --calibrate``."""
    fields = Fields.of(source.record.result)
    turns = fields.inside("turns")
    rows = [_agreement("all", fields.inside("all"))]
    rows += [_agreement(f"turn {turn}", turns.inside(turn)) for turn in turns.told]
    judge = Fields.of(source.record.config, "config").text_or_none("judge") or "unknown judge"
    notes = (*fields.texts("labels"), *fields.texts("policies"))
    return JudgeCheck(source=source, judge=judge, rows=tuple(rows), notes=notes)


def _agreement(name: str, told: Fields) -> Agreement:
    return Agreement(
        name=name,
        ratings=told.count_or_none("ratings"),
        known_mean=told.number_or_none("known_mean"),
        new_mean=told.number_or_none("new_mean"),
        bias=_ends(told.inside("bias")),
        mean_absolute_error=_ends(told.inside("mean_absolute_error")),
        rank_correlation=_ends(told.inside("rank_correlation")),
    )


def _ends(told: Fields) -> Ends:
    return told.number_or_none("value"), told.number_or_none("low"), told.number_or_none("high")
