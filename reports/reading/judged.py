"""MT-Bench records: each model's mean rating as ``eval.mtbench`` filed it, and the ratings themselves, to be paired."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from bench.record import Record
from eval.mtbench.intervals import Interval, mean_interval
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
    questions: str
    """The set of them, by name."""
    ratings: tuple[Rating, ...]
    differences: tuple[tuple[str, str, float | None, float | None, float | None, str], ...]
    """(model, from, difference, low, high, verdict), paired over questions."""
    labels: tuple[str, ...]
    """Why its scores may not stand beside published ones; none where they may."""
    scores: Mapping[str, Mapping[tuple[int, int], tuple[float, ...]]]
    """Model -> (question, turn) -> its ratings."""

    @property
    def record(self) -> Record:
        """Where it comes from."""
        return self.source.record

    def gaps(self, ours: Collection[str], theirs: Collection[str]) -> tuple[float, ...]:
        """By question the mean difference between two groups of models, on the turns that both have ratings for."""
        one, other = self._by_turn(ours), self._by_turn(theirs)
        questions: dict[int, list[float]] = defaultdict(list)
        for place in sorted(one.keys() & other.keys()):
            questions[place[0]].append(one[place] - other[place])
        return tuple(map(fmean, questions.values()))

    def by_question(self, model: str) -> tuple[float, ...]:
        """A model's mean rating of each question, on the turns that have one."""
        questions: dict[int, list[float]] = defaultdict(list)
        for (question, _), scores in sorted(self.scores.get(model, {}).items()):
            questions[question].append(fmean(scores))
        return tuple(map(fmean, questions.values()))

    def paired(self, ours: Collection[str], theirs: Collection[str]) -> Interval:
        """The mean of ``gaps`` with its 95% interval over questions."""
        return mean_interval(np.array(self.gaps(ours, theirs)))

    def _by_turn(self, models: Collection[str]) -> dict[tuple[int, int], float]:
        """Means of the turns that every one of the models has a rating for."""
        own = [self.scores.get(model, {}) for model in models]
        places = set.intersection(*(set(scores) for scores in own)) if own else set()
        return {place: fmean(fmean(scores[place]) for scores in own) for place in places}


def read_judged(source: Source) -> JudgedRun:
    """The run; Unreadable where the record is none of ``eval.mtbench``."""
    fields = Fields.of(source.record.result)
    asked = Fields.of(source.record.config, "config")
    return JudgedRun(
        source=source,
        judge=asked.text_or_none("judge") or "unknown judge",
        questions=asked.text_or_none("questions") or "unknown questions",
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
        scores=_scores(fields.each("judgments")),
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


def _scores(judgments: list[Fields]) -> dict[str, dict[tuple[int, int], tuple[float, ...]]]:
    found: dict[str, dict[tuple[int, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in judgments:
        model, place = row.text("model"), (int(row.number("question_id")), int(row.number("turn")))
        if (score := row.number_or_none("score")) is not None:
            found[model][place].append(score)
    return {model: {place: tuple(own) for place, own in places.items()} for model, places in found.items()}
