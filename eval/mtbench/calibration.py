"""How far a judge is from scores that are known: the same answers rated again, compared rating by rating."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from eval.mtbench.asks import Item
from eval.mtbench.intervals import Statistic, bootstrap
from eval.mtbench.replayed import items_of
from eval.mtbench.scoring import Grade
from eval.mtbench.verify import Checked

__all__ = ["Known", "calibration", "known_items"]

# Each is ranked anew: a second for a thousand ratings.
_RANKED_RESAMPLES = 2_000


@dataclass(frozen=True, kw_only=True)
class Known:
    """One turn whose score is known."""

    item: Item
    score: float


def known_items(checked: Sequence[Checked]) -> list[Known]:
    """What can be rated again: prompts that were rebuilt, with a score. Judged twice, it counts twice."""
    return [Known(item=item, score=judgment.score) for item, judgment in items_of(checked) if judgment.score >= 1]


def calibration(known: Sequence[Known], grades: Sequence[Grade], *, seed: int = 0) -> dict[str, Any]:
    """Bias, mean absolute error and rank correlation of the new ratings, over all and by turn, with intervals."""
    scores = {_place(one.item): one.score for one in known}
    pairs = [
        (grade.question_id, grade.turn, scores[grade.question_id, grade.turn, grade.model, grade.choice], grade.score)
        for grade in grades
        if grade.score is not None
    ]
    by_turn = {str(turn): [pair for pair in pairs if pair[1] == turn] for turn in (1, 2)}
    return {
        "all": _agreement(pairs, seed),
        "turns": {turn: _agreement(own, seed) for turn, own in by_turn.items() if own},
        "attempted": len(grades),
        "scored": len(pairs),
        "coverage": len(pairs) / len(grades) if grades else 0.0,
        "outcomes": dict(sorted(Counter(str(grade.verdict.outcome) for grade in grades).items())),
    }


def _place(item: Item) -> tuple[int, int, str, int]:
    return item.question.question_id, item.turn, item.model, item.choice


def _agreement(pairs: Sequence[tuple[int, int, float, float]], seed: int) -> dict[str, Any]:
    """Whole questions are drawn: models' answers to one question are not independent."""
    clusters = np.array([pair[0] for pair in pairs])
    known = np.array([pair[2] for pair in pairs])
    new = np.array([pair[3] for pair in pairs])
    questions = np.unique(clusters)
    members = [np.flatnonzero(clusters == question) for question in questions]

    def interval(statistic: Statistic, resamples: int = 10_000) -> dict[str, Any]:
        return asdict(bootstrap(len(questions), statistic, seed=seed, resamples=resamples))

    return {
        "known_mean": float(known.mean()) if len(pairs) else None,
        "new_mean": float(new.mean()) if len(pairs) else None,
        "bias": interval(_mean_over(members, new - known)),
        "mean_absolute_error": interval(_mean_over(members, np.abs(new - known))),
        "rank_correlation": interval(_spearman_over(members, known, new), resamples=_RANKED_RESAMPLES),
        "ratings": len(pairs),
    }


def _mean_over(members: Sequence[NDArray[np.int64]], values: NDArray[np.float64]) -> Statistic:
    sums = np.array([values[own].sum() for own in members])
    counts = np.array([len(own) for own in members])
    return lambda drawn: sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)


def _spearman_over(
    members: Sequence[NDArray[np.int64]], known: NDArray[np.float64], new: NDArray[np.float64]
) -> Statistic:
    """Spearman's rho of each resample: Pearson's r of mid-ranks, NaN where one side does not vary."""

    def one(drawn: NDArray[np.int64]) -> float:
        rows = np.concatenate([members[cluster] for cluster in drawn])
        x, y = rankdata(known[rows]), rankdata(new[rows])
        spread = float(x.std() * y.std())
        return float(((x - x.mean()) * (y - y.mean())).mean() / spread) if spread else float("nan")

    return lambda drawn: np.array([one(resample) for resample in drawn])
