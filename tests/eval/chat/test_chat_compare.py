"""From losses to the printed difference: a tie says what it could have seen, equal losses that they are equal."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from bench.record import Record, Status
from bench.stats import detectable_shift
from eval.chat.compare import compare
from eval.chat.table import print_table

DRAW = np.random.default_rng(0)
LOSSES = [2.0 + DRAW.normal(scale=0.3, size=40) for _ in range(3)]


def runs(method: str, noise: float, seeds: int = 3) -> list[Record]:
    """Runs whose losses are `LOSSES`, give or take that noise."""
    made = []
    for seed, loss_N in enumerate(LOSSES[:seeds]):
        losses = loss_N + noise * DRAW.normal(size=len(loss_N))
        told = {"conversations": [str(at) for at in range(len(losses))], "nll": losses.tolist()}
        cost = {"steps": 5, "train_s": 1.0, "peak": None, "saved": None}
        made.append(
            Record(
                kind="chat",
                key=f"{method}{seed}",
                status=Status.OK,
                reason=None,
                config={"lr": 1e-3},
                fingerprints={},
                environment={},
                command="python -m eval.chat",
                seed=seed,
                started="2026-11-21T00:00:00+00:00",
                ended="2026-11-21T00:01:00+00:00",
                result={**told, "tokens": [1] * len(losses), "valid_loss_by_token": float(losses.mean()), **cost},
            )
        )
    return made


def printed(noises: dict[str, float], seeds: int = 3) -> tuple[dict[str, str], str]:
    """Method -> its line of the table; and all that is printed."""
    made = {"full": runs("full", 0.0, seeds), **{name: runs(name, noise, seeds) for name, noise in noises.items()}}
    result = {"reference": "full", "rows": compare(made, reference="full"), "left_out": {}}
    console = Console(file=io.StringIO(), width=80)
    print_table(console, "small", result)
    out = console.file.getvalue()  # type: ignore[attr-defined]
    return {line.split()[0].strip("│"): line for line in out.splitlines() if line.startswith("│")}, out


def test_equal_losses_are_told_as_that_and_nothing_of_them_is_tested() -> None:
    lines, out = printed({"twin": 0.0, "other": 0.3, "near": 1e-7})
    assert [cell.strip() for cell in lines["twin"].split("│")[3:6]] == ["the same", "", ""]
    assert "~ " in lines["other"] and "the same" not in lines["other"]
    assert lines["near"].split("│")[5].strip() == "<0.001"
    assert "the same: every conversation has the reference's loss" in out
    assert "the same:" not in printed({"other": 0.3})[1]


def test_equal_losses_of_one_seed_are_told_too() -> None:
    lines, _ = printed({"twin": 0.0, "other": 0.3}, seeds=1)
    assert "the same" in lines["twin"] and "n/a" in lines["other"]


def test_what_could_be_seen_goes_with_the_corrected_verdict() -> None:
    """More methods are a stricter test: of the same runs less can be seen."""
    full, other = runs("full", 0.0), runs("other", 0.3)
    (alone,) = compare({"full": full, "other": other}, reference="full")[1:]
    beside, *_ = compare({"full": full, "other": other, "more": runs("more", 0.3)}, reference="full")[1:]
    for row, confidence in ((alone, 0.95), (beside, 0.975)):
        told = row["difference"]
        seen = detectable_shift(told["standard_error"], told["freedom"], confidence=confidence)
        assert told["detectable"] == pytest.approx(seen, rel=1e-9)


def test_a_loss_beside_others_is_told_by_holms_p() -> None:
    """Differences of 0.015, 0.020 and 0.025 over the seeds: p is 0.02, and three times that among three."""
    full, other = runs("full", 0.0), runs("other", 0.0)
    for record, base, more in zip(other, full, (0.015, 0.020, 0.025), strict=True):
        record.result["nll"] = [loss + more + 1e-4 * DRAW.normal() for loss in base.result["nll"]]
    (alone,) = compare({"full": full, "other": other}, reference="full")[1:]
    assert 0.01 < alone["difference"]["p"] == alone["difference"]["p_holm"] < 0.03 and alone["verdict"] == "worse"
    made = {"full": full, "other": other, "one": runs("one", 0.3), "two": runs("two", 0.3)}
    beside = compare(made, reference="full")[1]
    assert beside["difference"]["p"] == alone["difference"]["p"] and beside["verdict"] == "~"
