"""From records to rows, verdicts and a printed table: pairs by seed, failures kept, nothing invented."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from bench.record import Record, Status
from bench.stats import detectable_shift
from bench.tables import mebibytes
from eval.by_seed import add_seed_tests
from eval.compare import adjust, charge, compare
from eval.metrics import headline, score
from eval.scoreboard import print_scoreboard

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 400)


def predictions(share, seed):
    """Predictions of which that share is right."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(LABELS)) < share, LABELS, 1 - LABELS)


def record(method, seed, predicted=None, *, task="sst2", split="validation", labels=LABELS):
    result = {}
    if predicted is not None:
        told = {
            "idx": list(range(len(labels))),
            "labels": labels.tolist(),
            "predictions": predicted.tolist(),
            "scores": score(task, labels, predicted),
            "headline": headline(task, labels, predicted),
            "loss": 0.5,
        }
        ledger = {"trainable_parameters": 100, "updated_parameters": 10, "adapter_bytes": 400, "steps": 9}
        peak = {"peak_bytes": 2**20 * (seed + 1), "instrument": "tracked"}
        result = {"splits": {split: told}, **ledger, "train_s": 1.0 + seed, "peak": peak}
    return Record(
        kind="glue",
        key=f"{method.replace('-', '')}{seed}",
        status=Status.ERROR if predicted is None else Status.OK,
        reason="LossNotFinite: the loss is nan" if predicted is None else None,
        config={"method": method, "lr": 1e-4, "lora_rank": 7, "protocol": {"batch_size": 32}},
        fingerprints={},
        environment={},
        command="python -m eval.glue",
        seed=seed,
        started="2026-11-21T00:00:00+00:00",
        ended="2026-11-21T00:01:00+00:00",
        result=result,
    )


def runs(**shares):
    """method -> three runs; a share of None is a failure."""
    return {
        name: [record(name, seed, None if share is None else predictions(share, (at, seed))) for seed in range(3)]
        for at, (name, share) in enumerate(shares.items())
    }


def rows_of(made, *, margin=0.01, reference="full", task="sst2"):
    rows = compare(task, made, reference=reference, margin=margin)
    add_seed_tests(rows, made, reference=reference)
    charge(rows, {name: records[:1] for name, records in made.items()})
    adjust(rows)
    return {row["method"]: row for row in rows}


def test_a_clear_difference_is_told_and_a_small_one_is_a_tie():
    made = runs(full=0.9, same=0.9, worse=0.7)
    rows = rows_of(made)
    assert rows["full"]["verdict"] is None and rows["full"]["difference"] is None
    assert rows["worse"]["verdict"] == "worse" and rows["same"]["verdict"] == "~"
    told = rows["worse"]["difference"]
    assert told["low"] < told["mean"] < told["high"] < 0 and max(told["p_by_seed"]) < 1e-6
    assert told["test_of_each_seed"] == "McNemar" and len(told["p_by_seed"]) == 3
    assert told["p"] < told["p_holm"] == pytest.approx(2 * told["p"])
    backwards = rows_of(made, reference="worse")
    assert backwards["full"]["verdict"] == "better" and backwards["full"]["difference"]["mean"] == -told["mean"]


def test_what_could_be_seen_goes_with_the_corrected_verdict():
    """Of one comparison it is that of the test at 0.05; the more there are, the larger it has to be."""
    alone, crowd = rows_of(runs(full=0.9, a=0.9)), rows_of(runs(full=0.9, a=0.9, b=0.9, c=0.9))
    told = alone["a"]["difference"]
    assert told["detectable"] == pytest.approx(detectable_shift(told["standard_error"], told["freedom"]), rel=1e-9)
    strict = detectable_shift(told["standard_error"], told["freedom"], confidence=1 - 0.05 / 3)
    assert crowd["a"]["difference"]["detectable"] == pytest.approx(strict, rel=1e-9) and strict > told["detectable"]


def test_not_inferior_only_within_the_margin():
    made = runs(full=0.9, other=0.9)
    bound = rows_of(made)["other"]["difference"]["lower_bound"]
    assert rows_of(made, margin=-bound + 1e-9)["other"]["difference"]["non_inferior"]
    assert not rows_of(made, margin=-bound - 1e-9)["other"]["difference"]["non_inferior"]


def test_pairs_are_of_equal_seeds_and_failures_are_kept():
    made = runs(full=0.9, other=0.8)
    made["other"][1] = record("other", 1)
    made["other"].reverse()
    row = rows_of(made)["other"]
    assert row["status"] == "error" and row["seeds"] == [2, 0]
    assert row["failures"] == [{"seed": 1, "status": "error", "reason": "LossNotFinite: the loss is nan"}]
    by_seed = {r.seed: r.result["splits"]["validation"]["headline"] for r in made["full"]}
    gaps = [by - by_seed[seed] for by, seed in zip(row["headline"]["by_seed"], row["seeds"], strict=True)]
    assert row["difference"]["by_seed"] == pytest.approx(gaps)
    made["full"][2] = record("full", 2)
    assert rows_of(made)["other"]["difference"]["by_seed"] == pytest.approx(gaps[1:])


def test_what_was_not_measured_is_not_a_number():
    rows = rows_of(runs(full=None, other=0.9))
    assert rows["full"]["headline"] == {"mean": None, "sd": None, "by_seed": []}
    assert rows["other"]["difference"] is None and rows["other"]["verdict"] is None
    one = {name: made[:1] for name, made in runs(full=0.9, other=0.5).items()}
    told = rows_of(one)["other"]
    assert told["headline"]["sd"] is None and told["verdict"] == "~"
    assert [told["difference"][name] for name in ("low", "high", "detectable", "lower_bound")] == [None] * 4
    json.dumps([rows, told], allow_nan=False)


def test_the_same_answers_are_told_as_that_and_nothing_of_them_is_tested():
    """No zero stands for a difference that could have been seen. One seed tells nothing of other seeds, here too."""
    made = runs(full=0.9, worse=0.7)
    made["twin"] = [
        record("twin", r.seed, np.array(r.result["splits"]["validation"]["predictions"])) for r in made["full"]
    ]
    rows = rows_of(made)
    assert rows["twin"]["verdict"] == "~" and rows["twin"]["difference"]["detectable"] is None
    out = printed(rows)
    lines = {line.split()[0].strip("│"): line for line in out.splitlines() if line.startswith("│")}
    assert "│ the same │" in " ".join(lines["twin"].split()) and "0.0" not in lines["twin"].split("│")[4:8]
    assert "the same: scores equal" in out and "the same" not in printed(rows_of(runs(full=0.9, other=0.9)))
    one = printed(rows_of({name: records[:1] for name, records in made.items()}))
    assert "the same" not in one and "One seed tells nothing" in one


def test_every_reported_split_is_a_row_of_its_own():
    labels = RNG.integers(0, 3, 60)
    made = {}
    for name in ("full", "other"):
        whole = [record(name, s, labels, task="mnli", split="validation_matched", labels=labels) for s in range(2)]
        for one in whole:
            one.result["splits"]["validation_mismatched"] = one.result["splits"]["validation_matched"]
        made[name] = whole
    rows = compare("mnli", made, reference="full", margin=0.01)
    assert [(row["split"], row["method"]) for row in rows] == [
        (split, name) for split in ("validation_matched", "validation_mismatched") for name in ("full", "other")
    ]


def test_correlations_are_tested_in_one_scale():
    """A score times a thousand is the same score to a correlation: p's and interval stay."""
    labels = RNG.uniform(0, 5, 60)
    made = {}
    for name, noise, scale in (("full", 1.0, 1.0), ("large", 3.0, 1000.0), ("small", 3.0, 1.0)):
        made[name] = [
            record(
                name, s, scale * (labels + noise * np.random.default_rng(s).normal(size=60)), task="stsb", labels=labels
            )
            for s in range(2)
        ]
    rows = rows_of(made, task="stsb")
    assert rows["large"]["difference"]["p_by_seed"] == rows["small"]["difference"]["p_by_seed"]
    assert max(rows["large"]["difference"]["p_by_seed"]) < 0.05
    assert rows["large"]["difference"]["low"] == pytest.approx(rows["small"]["difference"]["low"])


def printed(rows, *, trials=0, budget=None):
    console = Console(file=io.StringIO(), width=80)
    result = {"reference": "full", "budget": budget, "trials_each": trials, "searched": False}
    result["rows"] = list(rows.values())
    print_scoreboard(console, "tiny", result)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_table_says_what_it_shows():
    made = runs(full=0.9, same=0.9, worse=0.7, broken=None)
    out = printed(rows_of(made), trials=4)
    lines = {line.split()[0].strip("│"): line for line in out.splitlines() if line.startswith("│")}
    assert "~ " in lines["same"] and "~ " not in lines["worse"]
    for name in ("full", "same", "worse"):
        scores = [r.result["splits"]["validation"]["headline"] for r in made[name]]
        assert f"{100 * np.mean(scores):.1f} ± {100 * np.std(scores, ddof=1):.1f}" in lines[name]
        assert mebibytes(3 * 2**20) in lines[name] and "2 s" in lines[name]
    assert "error" in lines["broken"] and "n/a" in lines["broken"] and "nan" not in lines["broken"]
    assert "broken, seed 2: error: LossNotFinite" in out
    assert "over all 2 comparisons" in out and "best of 4 trials" in out
    assert "1: 1 s" in lines["full"] and "1: 0 s" in lines["broken"]
    assert "Equal bytes" in printed(rows_of(made), budget="bytes") and "Equal" not in out
    one = printed(rows_of({name: records[:1] for name, records in made.items()}))
    assert "[-inf, +inf]" in one and "give --seeds 3 or more" in one
