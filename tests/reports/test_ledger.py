"""Laws of the ledger: every claim is there, new measurements change its verdict, another setting decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.record import Record
from bench.store import Store
from reports.document import CellStatus, Certainty, Claim, Verdict
from reports.paper.claims import CLAIMS
from reports.paper.findings import Finding, in_all, in_band, settle, told_side
from reports.paper.itself import ledger_of_itself
from reports.paper.ledger import RULES, paper_ledger
from reports.paper.printed import certain, disagree, elsewhere, uncertain
from reports.paper.published import TASKS
from reports.paper.quality_rules import mean_finding
from reports.reading.quality import Comparison, read_quality
from reports.reading.several import Difference
from reports.reading.shelf import Shelf, read_shelf
from tests.reports.small_records import GPU, gradients, peak, quality, record, source, speed

FULL = [100.0, 102.0, 101.0, 99.0]


def claims_of(folder: Path) -> dict[str, Claim]:
    return {claim.id: claim for claim in paper_ledger(read_shelf([folder])).claims}


def scaled(factor: float) -> list[float]:
    """Full's times by a factor, with a little noise of its own."""
    return [factor * time * wobble for time, wobble in zip(FULL, (1.0, 1.001, 0.999, 1.0), strict=True)]


def test_every_claim_is_listed_in_order_and_what_is_untested_says_what_it_takes() -> None:
    ledger = paper_ledger(Shelf())
    assert [claim.id for claim in ledger.claims] == [f"C{number}" for number in range(1, 21)] == list(CLAIMS)
    counted = {"C19", "C20"}
    assert {claim.id for claim in ledger.claims if claim.verdict is not Verdict.NOT_TESTED} == counted
    assert all(claim.takes for claim in ledger.claims)
    assert set(RULES) == set(CLAIMS)


@pytest.mark.parametrize(("factor", "verdict"), [(4.8, "reproduced"), (1.6, "not reproduced"), (9.0, "not reproduced")])
def test_sd_over_reg_is_settled_on_the_papers_setting_alone(tmp_path: Path, factor: float, verdict: str) -> None:
    times = {"full": FULL, "sparsegrad-sd": scaled(1.0), "sparsegrad-regular": scaled(factor)}
    Store(tmp_path).write(speed(times))
    elsewhere = claims_of(tmp_path)["C6"]
    assert elsewhere.verdict is Verdict.NOT_TESTED
    assert [cell.status for cell in elsewhere.measured] == [CellStatus.INCOMPARABLE]
    Store(tmp_path).write(speed(times, key="gpu", environment=GPU))
    told = claims_of(tmp_path)["C6"]
    assert told.verdict.value == verdict
    assert told.measured[0].status is not CellStatus.INCOMPARABLE
    assert told.measured[0].detail is not None and told.measured[0].detail.samples


def test_an_interval_across_the_bands_edge_is_within_noise(tmp_path: Path) -> None:
    times = {"full": FULL, "sparsegrad-sd": scaled(1.0), "sparsegrad-regular": [380.0, 600.0, 400.0, 590.0]}
    Store(tmp_path).write(speed(times, environment=GPU))
    assert claims_of(tmp_path)["C6"].verdict is Verdict.WITHIN_NOISE


@pytest.mark.parametrize(
    ("lora", "sd", "verdict"),
    [(0.8, 0.9, "reproduced"), (0.9, 0.8, "not reproduced"), (0.8, 1.2, "not reproduced"), (0.8, 1.0, "within noise")],
)
def test_the_order_of_speeds(tmp_path: Path, lora: float, sd: float, verdict: str) -> None:
    times = {"full": FULL, "lora": scaled(lora), "sparsegrad-sd": scaled(sd)}
    Store(tmp_path).write(speed(times, aa=[101.0, 101.0, 102.0, 98.5], environment=GPU))
    assert claims_of(tmp_path)["C8"].verdict.value == verdict


def test_a_peak_by_another_instrument_gives_no_verdict(tmp_path: Path) -> None:
    sizes = {"full": 1000, "lora": 700, "sparsegrad-sd": 780, "sparsegrad-regular": 900}
    for method, size in sizes.items():
        Store(tmp_path).write(peak(method, size))
    assert {name: claims_of(tmp_path)[name].verdict for name in ("C7", "C9", "C17")} == dict.fromkeys(
        ("C7", "C9", "C17"), Verdict.NOT_TESTED
    )
    for method, size in sizes.items():
        Store(tmp_path).write(peak(method, size, instrument="cuda max_memory_allocated", key=f"gpu{size}",
                                   environment=GPU))  # fmt: skip
    told = claims_of(tmp_path)
    assert told["C7"].verdict is Verdict.REPRODUCED  # 780 / 900 lies between text and table
    assert told["C9"].verdict is Verdict.REPRODUCED
    assert told["C17"].verdict is Verdict.NOT_REPRODUCED  # one ratio out of its band is enough, meprop unmeasured


def test_first_losses_that_part_refute_equal_outputs(tmp_path: Path) -> None:
    made = speed({"full": FULL, "sparsegrad-regular": FULL})
    Store(tmp_path).write(made)
    assert claims_of(tmp_path)["C5"].verdict is Verdict.REPRODUCED
    made.result["rows"][1]["losses"][0] += 1e-3
    Store(tmp_path / "other").write(made)
    assert claims_of(tmp_path / "other")["C5"].verdict is Verdict.NOT_REPRODUCED


def test_gradients_are_judged_block_by_block(tmp_path: Path) -> None:
    shares = {"none": [0.30, 0.32, 0.31], "shared": [0.60, 0.64, 0.62], "per-block": [0.64, 0.67, 0.66]}
    Store(tmp_path).write(gradients(shares))
    told = claims_of(tmp_path)
    assert told["C1"].verdict is Verdict.NOT_REPRODUCED  # 1% hold much, not nine tenths
    assert told["C2"].verdict is Verdict.REPRODUCED
    assert told["C4"].verdict is Verdict.REPRODUCED
    flatness = {"none": [0.2, 0.21, 0.22], "shared": [0.1, 0.09, 0.1]}
    Store(tmp_path / "flat").write(gradients(flatness, figure="flatness"))
    assert claims_of(tmp_path / "flat")["C14"].verdict is Verdict.REPRODUCED


def sweep(
    verdicts: Mapping[str, tuple[float, str | None]],
    *,
    protocol: str = "paper",
    synthetic: bool = False,
    idle: tuple[str, ...] = (),
) -> Record:
    """A sweep on BERT: by level its share and verdict; ``idle``: levels that do no better than one answer to all."""
    rows: list[dict[str, Any]] = [
        {
            "task": "cola",
            "split": "validation",
            "base_method": "sparsegrad-planned",
            "kept": kept,
            "share": share,
            "headline": {"mean": 0.5},
            "difference": {"mean": -0.02, "low": -0.03, "high": -0.01, "by_seed": [-0.02]},
            "verdict": verdict,
            "over_constant": {"mean": 0.0 if kept in idle else 0.4, "low": 0.0 if kept in idle else 0.3},
        }
        for kept, (share, verdict) in verdicts.items()
    ]
    config = {"model": "bert-base", "protocol": {"name": protocol}}
    return record("sparsity_quality", config=config, result={"rows": rows, "synthetic": synthetic, "verdicts": []})


@pytest.mark.parametrize(
    ("below", "above", "verdict"),
    [("worse", "~", "reproduced"), ("~", "~", "within noise"), ("worse", "worse", "not reproduced")],
)
def test_where_quality_declines(tmp_path: Path, below: str, above: str, verdict: str) -> None:
    levels = {"18k": (0.0076, below), "22k": (0.0093, above), "100k": (0.042, "~")}
    Store(tmp_path).write(sweep(levels))
    assert claims_of(tmp_path)["C10"].verdict.value == verdict
    for name, other in {"quick": sweep(levels, protocol="quick"), "made": sweep(levels, synthetic=True)}.items():
        Store(tmp_path / name).write(other)
        assert claims_of(tmp_path / name)["C10"].verdict is Verdict.NOT_TESTED


@pytest.mark.parametrize(("above", "verdict"), [("worse", "not reproduced"), ("~", "not tested here")])
def test_a_loss_at_more_entries_needs_no_level_below(tmp_path: Path, above: str, verdict: str) -> None:
    Store(tmp_path).write(sweep({"30k": (0.051, above), "100k": (0.17, "~")}))
    assert claims_of(tmp_path)["C10"].verdict.value == verdict


@pytest.mark.parametrize(
    ("idle", "verdict"),
    [
        ((), "not reproduced"),
        (("100k",), "reproduced"),  # many entries that collapse are no loss to sparsity
        (("18k", "100k"), "reproduced"),  # few that do are one
        (("22k", "100k"), "not tested here"),
        (("dense",), "not tested here"),
    ],
    ids=str,
)
def test_what_has_not_learned_tells_nothing_of_a_decline(tmp_path: Path, idle: tuple[str, ...], verdict: str) -> None:
    levels = {"18k": (0.0076, "worse"), "22k": (0.0093, "~"), "100k": (0.042, "worse"), "dense": (1.0, None)}
    Store(tmp_path).write(sweep(levels, idle=idle))
    assert claims_of(tmp_path)["C10"].verdict.value == verdict


def planted(folder: Path, rates: dict[str, float], *, model: str) -> None:
    """Three seeds a method of 400 items, right at these rates: independent errors, so that differences are noisy."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 400)
    for method, rate in rates.items():
        for seed in range(3):
            right = draw.random(400) < rate
            made = quality(method, seed, np.where(right, labels, 1 - labels).tolist(), labels.tolist())
            made.config["model"] = model
            Store(folder).write(made)


def test_one_task_of_eight_is_shown_and_settles_nothing(tmp_path: Path) -> None:
    planted(tmp_path, {"full": 0.8, "sparsegrad-planned": 0.95}, model="bert-base")
    told = claims_of(tmp_path)["C12"]
    assert told.verdict is Verdict.NOT_TESTED
    assert [cell.status for cell in told.measured] == [CellStatus.INCOMPARABLE]
    assert "reproduced in 1" in told.why


def differing(task: str, mean: float) -> Difference:
    """A difference on one task of BERT, as sure as a hundredth."""
    labels = [0, 1] * 4
    runs = {name: [read_quality(source(quality(name, 0, labels, labels)))]
            for name in ("full", "sparsegrad-planned")}  # fmt: skip
    return Difference(comparison=Comparison(task=task, runs=runs, left_out=()), model="bert-base", over="full",
                      method="sparsegrad-planned", mean=mean, error=0.01, freedom=10.0, by_seed=(mean,))  # fmt: skip


@pytest.mark.parametrize(("mean", "verdict"), [(0.05, "reproduced"), (-0.05, "not reproduced"), (0.0, "within noise")])
def test_all_eight_tasks_on_bert_settle_who_leads(mean: float, verdict: str) -> None:
    found = mean_finding("bert-base", "paper", [differing(task, mean) for task in TASKS], ("bert-base",))
    assert settle(CLAIMS["C12"], [found]).verdict.value == verdict
    for other in (
        mean_finding("bert-base", "quick", [differing(task, mean) for task in TASKS], ("bert-base",)),
        mean_finding("bert-base", "paper", [differing(task, mean) for task in TASKS[:7]], ("bert-base",)),
        mean_finding("bert-base", "paper", [differing(task, mean) for task in TASKS], ("roberta-base",)),
    ):
        assert settle(CLAIMS["C12"], [other]).verdict is Verdict.NOT_TESTED


def found(verdict: Verdict, setting: str, ended: str = "1") -> Finding:
    return Finding(verdict=verdict, text="1", setting=setting, of_claim=True, why="so", ended=ended)


def test_a_claim_fails_where_it_fails_once_and_the_newer_run_of_a_setting_counts() -> None:
    yes, no = Verdict.REPRODUCED, Verdict.NOT_REPRODUCED
    claim = CLAIMS["C8"]
    assert settle(claim, [found(yes, "a", "1"), found(no, "b", "2")]).verdict is no
    assert settle(claim, [found(no, "a", "1"), found(yes, "a", "2")]).verdict is yes
    assert settle(claim, [found(Verdict.WITHIN_NOISE, "a", "1"), found(yes, "b", "2")]).verdict is yes
    assert settle(claim, []).verdict is Verdict.NOT_TESTED


def test_a_claim_on_all_models_must_hold_on_each() -> None:
    yes, no, open_ = Verdict.REPRODUCED, Verdict.NOT_REPRODUCED, Verdict.WITHIN_NOISE
    claim = CLAIMS["C11"]
    assert settle(claim, [found(yes, "a"), found(yes, "b")]).verdict is Verdict.NOT_TESTED
    assert "each of 3 settings; 2 were tried" in settle(claim, [found(yes, "a"), found(yes, "b")]).why
    assert settle(claim, [found(yes, "a"), found(yes, "b"), found(yes, "c")]).verdict is yes
    assert settle(claim, [found(yes, "a"), found(yes, "b"), found(open_, "c")]).verdict is open_
    assert settle(claim, [found(yes, "a"), found(no, "b")]).verdict is no  # one that fails is enough
    assert CLAIMS["C13"].everywhere == 23  # three models, eight tasks, one pair left out


def test_an_uncertain_reading_carries_no_value() -> None:
    assert uncertain().value is None and uncertain().span() is None
    assert disagree(2.0, 1.0).span() == (1.0, 2.0)
    assert (disagree(2.0, 1.0).told(), elsewhere(2.0, 1.0).told()) == ("2 (also read: 1)", "2 (elsewhere: 1)")
    told = [settle(CLAIMS[id], []).certainty.value for id in ("C6", "C10", "C15", "C19")]
    assert told == ["certain", "the paper says both", "scans disagree", "the paper says both"]
    assert certain(3.0).certainty is Certainty.CERTAIN


def test_sides_and_bands() -> None:
    assert told_side(["faster", "~"], "faster") is Verdict.WITHIN_NOISE
    assert told_side(["slower", "~"], "faster") is Verdict.NOT_REPRODUCED
    assert told_side(["faster", None], "faster") is Verdict.NOT_TESTED
    assert in_all([]) is Verdict.NOT_TESTED
    from bench.stats import RatioInterval

    assert in_band(RatioInterval(mean=2, low=1.5, high=2.5, rounds=3), 1, 3) is Verdict.REPRODUCED
    assert in_band(RatioInterval(mean=2, low=1.5, high=2.5, rounds=3), 2, 3) is Verdict.WITHIN_NOISE
    assert in_band(RatioInterval(mean=2, low=1.5, high=2.5, rounds=3), 3, 4) is Verdict.NOT_REPRODUCED


def test_the_paper_against_itself() -> None:
    told = {claim.id: claim for claim in ledger_of_itself().claims}
    assert told["S1"].verdict is Verdict.NOT_REPRODUCED  # 16.0% or 9.1%, not 12%
    assert [round(cell.sort, 3) for cell in told["S1"].measured if isinstance(cell.sort, float)] == [0.16, 0.091]
    assert told["S3"].verdict is Verdict.REPRODUCED
    assert told["S8"].measured[0].text == "59.5"
    assert told["S11"].verdict is Verdict.WITHIN_NOISE
