"""The paper's tables as a ledger: each stands there, counts and runs settle what they can, garbled ones nothing."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from bench.store import Store
from reports.document import Certainty, Claim, Verdict
from reports.paper.ledger import paper_ledger
from reports.paper.printed import certain, uncertain
from reports.paper.published import MODELS, TASKS
from reports.paper.table_rows import held_by_seeds
from reports.paper.tables_ledger import ledger_of_tables
from reports.reading.shelf import Shelf, read_shelf
from tests.reports.later_records import rated, tuned
from tests.reports.small_records import GPU, record, speed

FULL = [100.0, 102.0, 101.0, 99.0]


def rows_of(shelf: Shelf) -> dict[str, Claim]:
    return {claim.id: claim for claim in ledger_of_tables(shelf).claims}


def shelf_of(folder: Path, *records: object) -> Shelf:
    for made in records:
        Store(folder).write(made)  # type: ignore[arg-type]
    return read_shelf([folder])


def test_every_table_is_there_and_what_cannot_be_read_carries_no_verdict() -> None:
    rows = rows_of(Shelf())
    places = {claim.place for claim in rows.values()}
    assert places == {f"table {number}" for number in (1, *range(3, 16))}
    judged = {claim.verdict for claim in rows.values() if claim.certainty is Certainty.UNCERTAIN}
    assert judged == {Verdict.NO_VERDICT}
    assert rows["T5-lora-roberta-large"].verdict is Verdict.NO_VERDICT
    assert rows["T5-lora-roberta-large"].takes is None  # no run can tell what was printed
    assert all(claim.takes for claim in rows.values() if claim.verdict is Verdict.NOT_TESTED)


def test_table_1_is_counted() -> None:
    rows = rows_of(Shelf())
    told = {model: rows[f"T1-{model}"].verdict.value for model in (*MODELS, "llama-2-7b")}
    assert told == {
        "bert-base": "reproduced",
        "roberta-base": "reproduced",
        "roberta-large": "not reproduced",  # 201M in the MLP, not 178M
        "llama-2-7b": "not reproduced",
    }
    assert "MLP: 201.4 million, printed 178" in rows["T1-roberta-large"].why


@pytest.mark.parametrize(("factor", "peak", "verdict"), [
    (0.90, 770, "reproduced"), (1.5, 770, "not reproduced"), (0.90, 1040, "not reproduced"),
])  # fmt: skip
def test_table_3_is_held_as_ratios_in_its_own_setting(tmp_path: Path, factor: float, peak: int, verdict: str) -> None:
    times = {"full": FULL, "sparsegrad-sd": [factor * time for time in FULL]}
    made = speed(times, environment=GPU)
    made.result["rows"][1]["peak_bytes"] = peak  # full's are 1000
    assert rows_of(shelf_of(tmp_path / "gpu", made))["T3-sparsegrad-sd"].verdict.value == verdict
    elsewhere = rows_of(shelf_of(tmp_path / "cpu", speed(times)))["T3-sparsegrad-sd"]
    assert elsewhere.verdict is Verdict.NOT_TESTED and elsewhere.measured[0].shown.startswith("x ")


def test_a_mean_is_held_by_where_means_of_three_seeds_fall() -> None:
    narrow, wide = (82.0, 82.1, 81.9, 82.0, 82.05), (80.0, 84.0, 82.0, 81.0, 83.0)
    assert held_by_seeds(certain(82.1), narrow)[0] is Verdict.REPRODUCED
    assert held_by_seeds(certain(83.0), narrow)[0] is Verdict.NOT_REPRODUCED
    assert held_by_seeds(certain(83.0), wide)[0] is Verdict.WITHIN_NOISE  # so wide that it could not have failed
    assert held_by_seeds(uncertain(), narrow)[0] is Verdict.NO_VERDICT


@pytest.mark.parametrize(("loss", "verdict"), [(1.247, "reproduced"), (2.0, "not reproduced")])
def test_table_6_asks_for_both_of_its_figures(tmp_path: Path, loss: float, verdict: str) -> None:
    losses = [loss - 0.01, loss, loss + 0.01, loss]
    runs = [tuned("sparsegrad-planned", losses, seed=seed) for seed in (0, 1)]
    alone = rows_of(shelf_of(tmp_path, *runs))["T6-sparsegrad"]
    assert alone.verdict is Verdict.NOT_TESTED and f"valid loss {loss:.3f}" in alone.measured[0].text
    folders = ("sparsegrad-planned-0", "sparsegrad-planned-1")
    both = shelf_of(tmp_path, rated({folder: [5.0, 5.1, 5.2] for folder in folders}))
    assert rows_of(both)["T6-sparsegrad"].verdict.value == verdict  # the report says 5.0 [4.0, 6.0]: loss decides


def test_table_11_takes_all_levels_on_all_tasks(tmp_path: Path) -> None:
    levels = {"18k": 18_000, "22k": 22_000, "30k": 30_000, "100k": 100_000, "dense": 768 * 3072}
    scores = {"18k": 0.815, "22k": 0.822, "30k": 0.820, "100k": 0.822, "dense": 0.820}

    def sweep(tasks: tuple[str, ...], shift: float) -> object:
        rows = [
            {"task": task, "split": "validation", "base_method": "sparsegrad-planned", "kept": kept,
             "share": count / (768 * 3072), "headline": {"mean": scores[kept] + shift}, "difference": None,
             "verdict": None}
            for task in tasks for kept, count in levels.items()
        ]  # fmt: skip
        config = {"model": "bert-base", "protocol": {"name": "paper"}}
        return record("sparsity_quality", config=config, result={"rows": rows, "synthetic": False, "verdicts": []})

    told = {
        name: rows_of(shelf_of(tmp_path / name, made))["T11"].verdict.value
        for name, made in {
            "whole": sweep(TASKS, 0.0),
            "off": sweep(TASKS, 0.02),
            "part": sweep(TASKS[:7], 0.0),
        }.items()
    }
    assert told == {"whole": "reproduced", "off": "not reproduced", "part": "not tested here"}


def test_settings_of_two_runs_that_differ_never_share_a_name(tmp_path: Path) -> None:
    """Else the newer would stand for both."""
    times = {"full": FULL, "lora": FULL, "sparsegrad-sd": FULL, "sparsegrad-regular": FULL}
    plain = speed(times)
    others: list[dict[str, object]] = [
        {"dropout": 0.1},
        {"trainable": "all"},
        {"kept": 0.1},
        {"core": [64, 64]},
        {"limit": 100},
    ]
    made = [replace(plain, key=f"0{at}", config={**plain.config, **other}) for at, other in enumerate(others)]
    measured = rows_of(shelf_of(tmp_path, plain, *made))["T3-lora"].measured
    assert len({cell.reason for cell in measured}) == len(measured) == 1 + len(others)


def commands_to_test() -> list[str]:
    """What the ledgers tell a reader to type, command by command."""
    claims = (*paper_ledger(Shelf()).claims, *ledger_of_tables(Shelf()).claims)
    told = {part for claim in claims if claim.takes for part in re.split(r"; |, or ", claim.takes)}
    return sorted(part for part in told if " on each " not in part)  # that one goes on in words


@pytest.mark.parametrize("command", commands_to_test())
def test_what_would_test_a_claim_can_be_typed(command: str) -> None:
    python, dash_m, name, *argv = shlex.split(command)
    assert (python, dash_m) == ("python", "-m")
    module = import_module(name)
    if not hasattr(module, "parser"):
        module = import_module(f"{name}.__main__")
    module.parser().parse_args(argv)
