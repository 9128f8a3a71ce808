"""Where quality begins to degrade, from planted predictions: a loss is found where it is, a tie is called a tie."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from scipy.stats import norm

from bench.record import Record, Status
from eval.compare import adjust, compare
from eval.metrics import headline, score
from eval.sparsity.verdict import verdicts

LABELS = np.random.default_rng(0).integers(0, 2, 600)
ENTRIES = {"0.5%": 50, "1%": 100, "2%": 200, "4%": 400, "dense": 10_000}
Sweep = dict[str, list[Record]]


def record(level: str, seed: int, right: np.ndarray | None) -> Record:
    """A run whose prediction of item i is right where ``right[i]``."""
    result: dict[str, Any] = {}
    if right is not None:
        predicted = np.where(right, LABELS, 1 - LABELS)
        told = {
            "labels": LABELS.tolist(),
            "predictions": predicted.tolist(),
            "scores": score("sst2", LABELS, predicted),
        }
        told["headline"] = headline("sst2", LABELS, predicted)
        cost = {"steps": 9, "train_s": 1.0, "peak": None}
        result = {"splits": {"validation": told}, **cost}
    return Record(
        kind="glue",
        key=f"key{seed}",
        status=Status.ERROR if right is None else Status.OK,
        reason="OutOfMemoryError" if right is None else None,
        config={"lr": 1e-3, "lora_rank": 7, "protocol": {"batch_size": 32}},
        fingerprints={},
        environment={},
        command="python -m eval.sparsity",
        seed=seed,
        started="2026-11-21T00:00:00+00:00",
        ended="2026-11-21T00:01:00+00:00",
        result=result,
    )


def planted(losses: dict[str, float | None], seeds: int = 3) -> Sweep:
    """level -> runs: dense is right nine times in ten; a level is wrong where dense is right that share of the times
    more, on items of its own seed; None: it failed."""
    draw = np.random.default_rng(1)
    base = [draw.random(len(LABELS)) < 0.9 for _ in range(seeds)]
    sweep: Sweep = {}
    for level, loss in {**losses, "dense": 0.0}.items():
        rights = [None if loss is None else right & (draw.random(len(LABELS)) >= loss) for right in base]
        sweep[level] = [record(level, seed, right) for seed, right in enumerate(rights)]
    return sweep


def rows_of(sweep: Sweep) -> list[dict[str, Any]]:
    rows = compare("sst2", sweep, reference="dense", margin=0.01)
    for row in rows:
        row |= {"base_method": "sparsegrad-planned", "kept": row["method"], "entries": ENTRIES[row["method"]]}
    adjust(rows)
    return rows


def verdict(sweep: Sweep) -> dict[str, Any]:
    (told,) = verdicts(rows_of(sweep))
    json.dumps(told, allow_nan=False)
    return told


def test_a_planted_loss_is_found_at_its_level() -> None:
    told = verdict(planted({"0.5%": 0.15, "1%": 0.15, "2%": 0.0, "4%": 0.0}))
    assert (told["found"], told["loss_at"], told["from_kept"]) == ("loss", "1%", "2%")
    assert told["loss"]["low"] < -0.9 * 0.15 < told["loss"]["high"] < 0
    assert told["sentence"].startswith("from 2% kept on no loss is found") and "at 1% a loss of 1" in told["sentence"]
    assert told["ties_below"] == told["missing"] == []


def test_a_tie_is_a_tie_and_says_what_could_have_been_seen() -> None:
    sweep = planted({"0.5%": 0.004, "1%": 0.004, "2%": 0.0})
    told = verdict(sweep)
    assert told["found"] == "no loss" and told["loss_at"] is None and told["from_kept"] == "0.5%"
    seen = [row["difference"]["detectable"] or 0.0 for row in rows_of(sweep) if row["difference"]]
    assert min(seen) == 0.0, "of the same answers nothing is tested"
    assert told["could_see"] == max(seen) and f"a loss of {100 * max(seen):.1f} points, of the" in told["sentence"]
    assert told["sentence"].startswith("not found")


def test_levels_with_the_very_answers_of_dense_are_said_to_have_them() -> None:
    told = verdict(planted({"1%": 0.0, "2%": 0.0}))
    assert told["found"] == "no loss" and told["could_see"] is None
    assert told["sentence"] == "not found: no level is worse than dense; each scores as dense does on whatever items."
    lossy = verdict(planted({"1%": 0.2, "2%": 0.0}))
    assert "from 2% kept on no loss is found (each scores as dense does on whatever items)" in lossy["sentence"]


def row(level: str, p: float, lead: float = 0.4) -> dict[str, Any]:
    """A level three points below dense, at that p before any correction, and that far above one answer given to all,
    give or take five points."""
    learned = {"mean": lead, "low": lead - 0.05, "high": lead + 0.05}
    told = {"mean": -0.03, "low": -0.05, "high": -0.01, "p": p, "standard_error": 0.01, "freedom": 50.0}
    names = {"task": "sst2", "split": "validation", "base_method": "meprop", "kept": level, "entries": ENTRIES[level]}
    return {**names, "difference": told, "verdict": None, "over_constant": learned}


DENSE = row("dense", 1.0) | {"difference": None}


def test_the_means_do_not_decide_and_holm_does() -> None:
    """The same p and mean are a loss alone, and a tie as one of four comparisons."""
    alone, crowd = [row("1%", 0.03)], [row(level, p) for level, p in zip(ENTRIES, (0.9, 0.03, 0.9, 0.9), strict=False)]
    adjust(alone)
    adjust(crowd)
    (one,), (four,), (tie,) = (verdicts([*rows, DENSE]) for rows in (alone, crowd, [alone[0] | {"verdict": "~"}]))
    assert one["found"] == "loss" and four["found"] == "no loss"
    assert four["could_see"] > tie["could_see"]


def test_false_alarms_stay_below_five_in_a_hundred() -> None:
    """Sweeps in which no level differs but by noise, all against one dense: Holm's promise, by simulation."""
    draw, alarms, trials = np.random.default_rng(3), 0, 200
    for _ in range(trials):
        z = draw.normal(size=4) - draw.normal()
        crowd = [row(level, float(p)) for level, p in zip(ENTRIES, 2 * norm.sf(abs(z) / 2**0.5), strict=False)]
        adjust(crowd)
        alarms += verdicts([*crowd, DENSE])[0]["found"] == "loss"
    assert 0 < alarms <= 17  # P(18 or more of 200 at 5%) is 0.01


def test_the_most_that_was_tried_may_lose() -> None:
    told = verdict(planted({"0.5%": 0.2, "1%": 0.2}))
    assert told["from_kept"] is None and told["could_see"] is None and told["loss_at"] == "1%"
    assert "give more to --kept-list" in told["sentence"]


def test_what_is_not_told_below_a_loss_is_said() -> None:
    told = verdict(planted({"0.5%": 0.0, "1%": 0.2, "2%": 0.0}))
    assert (told["loss_at"], told["from_kept"], told["ties_below"]) == ("1%", "2%", ["0.5%"])
    assert "0.5% could not be told from dense" in told["sentence"]


def test_what_is_better_is_no_tie_and_is_named() -> None:
    better = row("0.5%", 1e-6)
    better["difference"] |= {"mean": 0.03, "low": 0.01, "high": 0.05}
    told = swept(better, row("1%", 0.9))
    assert (told["found"], told["better"]) == ("no loss", ["0.5%"]) and "Better than dense: 0.5%." in told["sentence"]
    below = swept(better, row("1%", 1e-6), row("2%", 0.9))
    assert (below["loss_at"], below["ties_below"], below["better"]) == ("1%", [], ["0.5%"])
    assert "could not be told" not in below["sentence"] and "Better than dense: 0.5%." in below["sentence"]


def test_above_a_loss_what_could_not_have_seen_the_loss_of_everything_tells_nothing() -> None:
    blind = row("2%", 0.9)
    blind["difference"]["standard_error"] = 0.2
    told = swept(row("1%", 1e-6), blind)
    assert (told["found"], told["loss_at"], told["from_kept"], told["could_see"]) == ("loss", "1%", None, None)
    assert "at 1% a loss of 3.0 points" in told["sentence"] and "above it nothing is told" in told["sentence"]


def test_without_runs_there_is_no_verdict() -> None:
    assert "fewer than two seeds ran: 1%." in verdict(planted({"1%": None, "2%": 0.0}))["sentence"]
    failed = planted({"1%": 0.2}) | {"dense": [record("dense", 0, None)]}
    assert verdict(failed)["found"] is None and "no level ran beside dense" in verdict(failed)["sentence"]
    one = verdict(planted({"1%": 0.2}, seeds=1))
    assert one["found"] is None and "give --seeds 3 or more" in one["sentence"]


def test_where_dense_has_learned_nothing_there_is_no_verdict() -> None:
    """Every level a tie with dense, and all of them guesses."""
    draw = np.random.default_rng(5)
    sweep = {
        level: [record(level, seed, draw.random(len(LABELS)) < 0.5) for seed in range(3)] for level in ("1%", "dense")
    }
    told = verdict(sweep)
    assert told["found"] is None and "dense itself is not above one answer given to all" in told["sentence"]


def collapsed(*levels: str) -> Sweep:
    """Runs that give one answer to all."""
    return {level: [record(level, seed, LABELS == 1) for seed in range(3)] for level in levels}


def test_few_entries_that_fall_to_one_answer_are_a_loss() -> None:
    told = verdict(collapsed("0.5%", "1%") | planted({"2%": 0.0}))
    assert (told["found"], told["loss_at"], told["from_kept"], told["idle"]) == ("loss", "1%", "2%", ["0.5%", "1%"])
    assert "at 1% a loss of 35.8 points" in told["sentence"] and "says nothing: 0.5%, 1%." in told["sentence"]


def test_more_entries_that_fall_to_one_answer_where_fewer_learn_are_no_verdict() -> None:
    """Too high a rate, say: neither a loss to sparsity, nor a reason to keep still more."""
    told = verdict(planted({"1%": 0.0, "2%": 0.1}) | collapsed("4%"))
    assert told["found"] is told["loss_at"] is told["loss"] is told["could_see"] is None
    assert told["sentence"].startswith("no verdict: 4% is not above one answer given to all, and below levels of fewer")
    assert "give other rates (--lr)" in told["sentence"] and "give more to --kept-list" not in told["sentence"]


def test_where_dense_alone_has_collapsed_the_levels_that_learned_are_named() -> None:
    told = verdict(planted({"1%": 0.0, "2%": 0.0}) | collapsed("dense"))
    assert told["found"] is None and "though 1%, 2% are: train longer, or at other rates." in told["sentence"]
    assert "says nothing" not in told["sentence"]


def swept(*rows: dict[str, Any], dense: float = 0.4) -> dict[str, Any]:
    """The verdict on these rows beside a dense that far above one answer."""
    adjust(rows)
    (told,) = verdicts([*rows, row("dense", 1.0, dense) | {"difference": None}])
    json.dumps(told, allow_nan=False)
    return told


def test_a_tie_of_a_level_that_learned_nothing_is_no_tie() -> None:
    told = swept(row("1%", 0.9, 0.04), row("2%", 0.9), row("4%", 0.9))
    assert (told["found"], told["from_kept"], told["idle"]) == ("no loss", "2%", ["1%"])
    assert told["sentence"].startswith("not found: from 2% kept on no level is worse than dense")
    assert told["sentence"].endswith("so that a tie with dense says nothing: 1%.")
    assert swept(row("1%", 0.9), row("2%", 0.9, 0.04), row("4%", 0.9))["from_kept"] == "4%"
    top = swept(row("1%", 0.9), row("2%", 0.9, 0.04))
    assert top["found"] is None and "2%, the most that was tried, is told neither from dense nor" in top["sentence"]
    above = swept(row("0.5%", 1e-6), row("1%", 0.9, 0.04))
    assert (above["found"], above["loss_at"], above["from_kept"]) == ("loss", "0.5%", None)
    assert "above it nothing is told" in above["sentence"] and "the most that was tried" not in above["sentence"]


def test_noise_about_one_answer_is_not_called_a_collapse() -> None:
    """The intervals of the two levels overlap."""
    assert swept(row("1%", 0.9, 0.07), row("2%", 1e-6, 0.04))["loss_at"] == "2%"
    assert swept(row("1%", 0.9, 0.15), row("2%", 1e-6, 0.04))["found"] is None


def test_a_sweep_that_could_not_have_seen_the_loss_of_everything_is_no_verdict() -> None:
    """One level with an error of a point finds three points: more than dense has here."""
    told = swept(row("1%", 0.9, 0.06), dense=0.07)
    assert (
        told["found"] == "no loss" and told["to_lose"] == 0.07 and "of the 7.0 that dense has over" in told["sentence"]
    )
    lost = row("1%", 0.9, 0.06)
    lost["difference"]["standard_error"] = 0.04
    blind = swept(lost, dense=0.07)
    assert blind["found"] is blind["could_see"] is blind["from_kept"] is None and blind["to_lose"] == 0.07
    assert "dense has 7.0 points over one answer given to all" in blind["sentence"]
    assert "give more seeds, or train longer" in blind["sentence"]
