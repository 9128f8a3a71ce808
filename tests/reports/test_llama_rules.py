"""C15, C16, C18: a verdict from what the claim is made of alone, else not tested, with what was measured beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.store import Store
from reports.document import CellStatus, Claim, Verdict
from reports.reading.shelf import read_shelf
from reports.tables.paper_later import llama_table
from tests.reports.later_records import preliminary, rated, tuned
from tests.reports.small_records import GPU
from tests.reports.test_ledger import claims_of

LOSSES = [1.0, 1.4, 0.9, 1.2, 1.1, 1.3]
RATINGS = [5.0, 6.0, 4.0, 7.0, 5.0, 6.0, 3.0, 8.0]
METHODS = ("full", "lora", "meprop", "sparsegrad-planned")


def runs(folder: Path, worse_by: Mapping[str, float], **changes: Any) -> None:
    """Three seeds a method, its losses above LOSSES by so much, with a little noise of each run's own."""
    for method, shift in worse_by.items():
        for seed in range(3):
            place = METHODS.index(method)
            own = shift + 0.001 * ((seed + place) % 3 - 1)
            noise = [0.004 * ((7 * at + seed + place) % 6 - 2.5) for at in range(len(LOSSES))]
            losses = [loss + own + wobble for loss, wobble in zip(LOSSES, noise, strict=True)]
            Store(folder).write(tuned(method, losses, seed=seed, **changes))


def ratings(folder: Path, lower_by: Mapping[str, float], **words: Any) -> None:
    """The first two seeds of each method, its ratings below RATINGS by so much."""
    scores: dict[str, Sequence[float]] = {
        f"{method}-{seed}": [score - shift + 0.1 * ((at + seed) % 2) for at, score in enumerate(RATINGS)]
        for method, shift in lower_by.items()
        for seed in (0, 1)
    }
    Store(folder).write(rated(scores, **words))


def told(folder: Path, name: str) -> Claim:
    return claims_of(folder)[name]


BEST = dict(zip(METHODS, (0.2, 0.1, 0.3, 0.0), strict=True))
"""How much worse than SparseGrad each is."""


def test_the_best_of_all_by_both_measures_is_reproduced(tmp_path: Path) -> None:
    runs(tmp_path, BEST)
    ratings(tmp_path, {name: 10 * shift for name, shift in BEST.items()})
    claim = told(tmp_path, "C15")
    assert claim.verdict is Verdict.REPRODUCED
    assert "valid loss of lora minus sparsegrad-planned +0.1000" in claim.why
    (cell,) = claim.measured
    assert cell.text == "+0.1000 nats, +1.00 points" and cell.status is CellStatus.OK
    assert cell.detail is not None and {one.unit for one in cell.detail.samples} == {"nats a token", "points of 10"}
    assert len(cell.detail.runs) == 13
    measured = [row[4:] for row in llama_table(read_shelf([tmp_path])).rows]
    assert [loss.text for loss, _ in measured] == ["1.350", "1.250", "1.150", "1.450"]
    assert all(score.text == "5.000" for _, score in measured)


@pytest.mark.parametrize(
    ("worse_by", "lower_by", "verdict"),
    [
        ({**BEST, "lora": -0.1}, BEST, "not reproduced"),
        (BEST, {**BEST, "meprop": -1.0}, "not reproduced"),
        ({**BEST, "full": 0.0}, BEST, "within noise"),
    ],
)
def test_one_that_is_better_refutes_and_a_tie_leaves_it_open(
    tmp_path: Path, worse_by: dict[str, float], lower_by: dict[str, float], verdict: str
) -> None:
    runs(tmp_path, worse_by)
    ratings(tmp_path, {name: 10 * shift for name, shift in lower_by.items()})
    assert told(tmp_path, "C15").verdict.value == verdict


def test_half_of_it_settles_nothing_but_a_failure(tmp_path: Path) -> None:
    runs(tmp_path / "a", BEST)
    claim = told(tmp_path / "a", "C15")
    assert claim.verdict is Verdict.NOT_TESTED and claim.takes
    assert [cell.status for cell in claim.measured] == [CellStatus.INCOMPARABLE]
    assert "no rating of LoRA on mt-bench-inf" in str(claim.measured[0].reason)
    runs(tmp_path / "b", {**BEST, "lora": -0.1})
    assert told(tmp_path / "b", "C15").verdict is Verdict.NOT_REPRODUCED


@pytest.mark.parametrize(
    "changes",
    [{"model": "some-mini"}, {"random_weights": True}, {"data": "roleplay.jsonl"}, {"protocol": {"name": "quick"}}],
    ids=lambda changes: next(iter(changes)),
)
def test_another_model_text_or_protocol_settles_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    runs(tmp_path, BEST, **changes)
    ratings(tmp_path, {name: 10 * shift for name, shift in BEST.items()})
    for name in ("C15", "C16"):
        claim = told(tmp_path, name)
        assert claim.verdict is Verdict.NOT_TESTED
        assert [cell.status for cell in claim.measured] == [CellStatus.INCOMPARABLE]


@pytest.mark.parametrize(("lora", "verdict"), [(1.0, "reproduced"), (0.0, "within noise"), (-1.0, "not reproduced")])
def test_whose_answers_are_rated_lower(tmp_path: Path, lora: float, verdict: str) -> None:
    runs(tmp_path, BEST)
    ratings(tmp_path, {"lora": lora, "sparsegrad-planned": 0.0})
    claim = told(tmp_path, "C16")
    assert claim.verdict.value == verdict
    assert claim.measured[0].sort == pytest.approx(lora)


@pytest.mark.parametrize("words", [{"labels": ["rated by another"]}, {"questions": "own"}], ids=["judge", "questions"])
def test_other_questions_or_another_judge_settle_nothing(tmp_path: Path, words: dict[str, Any]) -> None:
    runs(tmp_path, BEST)
    ratings(tmp_path, {"lora": 1.0, "sparsegrad-planned": 0.0}, **words)
    claim = told(tmp_path, "C16")
    assert claim.verdict is Verdict.NOT_TESTED and len(claim.measured) == 1


STACK, PRINTED = 3_397_000_000, 276_000_000


@pytest.mark.parametrize(
    ("seconds", "peak", "stack", "verdict"),
    [
        (100.0, 280_000_000, PRINTED, "reproduced"),
        (400.0, 280_000_000, PRINTED, "not reproduced"),
        (100.0, STACK, STACK, "not reproduced"),
        (None, None, STACK, "not reproduced"),  # a lower bound, and above the band already
        (None, None, PRINTED, "not tested here"),
    ],
)
def test_the_preliminary_phase_as_written(
    tmp_path: Path, seconds: float | None, peak: int | None, stack: int, verdict: str
) -> None:
    Store(tmp_path).write(preliminary("stacked", seconds=seconds, peak=peak, stack=stack))
    claim = told(tmp_path, "C18")
    assert claim.verdict.value == verdict
    assert claim.takes is not None and "--preliminary" in claim.takes


def test_streamed_or_on_a_gpu_or_of_another_shape_it_settles_nothing(tmp_path: Path) -> None:
    held: dict[str, Any] = {"seconds": 78.0, "peak": PRINTED, "stack": PRINTED}
    Store(tmp_path).write(preliminary("streamed", **held))
    Store(tmp_path).write(preliminary("stacked", **held, environment=GPU, key="gpu"))
    Store(tmp_path).write(preliminary("stacked", **held, model="roberta-large", key="large"))
    claim = told(tmp_path, "C18")
    assert claim.verdict is Verdict.NOT_TESTED
    assert [cell.status for cell in claim.measured] == [CellStatus.INCOMPARABLE] * 2
