"""Filed comparisons are told again from their runs, by today's statistics; as filed where a run is not at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.record import Record
from bench.store import Store
from eval.compare import adjust, compare
from reports.document import Table
from reports.reading.shelf import Shelf, read_shelf
from reports.tables.compared import compared_table
from reports.tables.quality import AS_FILED
from reports.tables.sweep import sweep_table
from tests.reports.later_records import compared
from tests.reports.small_records import quality, record

LABELS = [0, 1] * 100
Runs = dict[str, list[Record]]


def wrong(share: float, seed: int) -> list[int]:
    """The labels with that share of mistakes, other ones by seed."""
    turned = {(7 * place + seed) % len(LABELS) for place in range(round(share * len(LABELS)))}
    return [1 - label if place in turned else label for place, label in enumerate(LABELS)]


def runs_of(task: str, mistakes: dict[str, float]) -> Runs:
    return {
        name: [quality(name, seed, wrong(share, seed), LABELS, task=task) for seed in range(3)]
        for name, share in mistakes.items()
    }


def filed(runs: Runs, task: str, **more: Any) -> list[dict[str, Any]]:
    """Rows as an earlier day's statistics made them: every difference wonderfully sure."""
    (first, second) = compared().result["rows"]
    rows = []
    for place, (name, own) in enumerate(runs.items()):
        row = first if place == 0 else second | {"verdict": "better"}
        keys = [run.key for run in own]
        rows.append({**row, "task": task, "method": name, "records": keys, **more.get(name, {})})
    return rows


def shelf_of(folder: Path, made: Record, *runs: Runs) -> Shelf:
    for one in (made, *(run for each in runs for own in each.values() for run in own)):
        Store(folder).write(one)
    return read_shelf([folder])


def told(table: Table) -> str:
    return " ".join([cell.shown for row in table.rows for cell in row] + list(table.notes))


def test_a_command_s_verdicts_are_those_of_its_runs_by_holm_over_its_tasks(tmp_path: Path) -> None:
    tasks = {task: runs_of(task, {"full": 0.1, "lora": worse}) for task, worse in (("sst2", 0.4), ("rte", 0.105))}
    rows = [row for task, runs in tasks.items() for row in filed(runs, task)]
    (one,) = shelf_of(
        tmp_path, compared(result={"reference": "full", "budget": None, "rows": rows}), *tasks.values()
    ).compared
    wanted = [row for task, runs in tasks.items() for row in compare(task, runs, reference="full", margin=0.01)]
    adjust(wanted)
    found = {(row.task, row.method): row for row in one.rows}
    for row in (row for row in wanted if row["difference"] is not None):
        again, difference = found[row["task"], row["method"]], row["difference"]
        assert (again.difference, again.low, again.high) == tuple(difference[name] for name in ("mean", "low", "high"))
        assert (again.p_holm, again.verdict) == (difference["p_holm"], row["verdict"])
    assert found["sst2", "lora"].verdict == "worse" and found["rte", "lora"].verdict == "~"
    assert found["sst2", "full"].trials == 3  # what no statistic is stays
    assert not one.as_filed and AS_FILED not in told(compared_table(one, "it"))


@pytest.mark.parametrize("missing", [True, False])
def test_without_one_of_its_runs_it_is_as_filed_and_says_so(missing: bool, tmp_path: Path) -> None:
    runs = runs_of("sst2", {"full": 0.1, "lora": 0.4})
    made = compared(result={"reference": "full", "budget": None, "rows": filed(runs, "sst2")})
    runs["lora"] = runs["lora"][missing:]
    (one,) = shelf_of(tmp_path, made, runs).compared
    assert one.as_filed is missing and (AS_FILED in told(compared_table(one, "it"))) is missing
    assert one.rows[1].verdict == ("better" if missing else "worse")


def test_a_sweep_s_levels_and_its_sentence_are_told_again(tmp_path: Path) -> None:
    runs = runs_of("sst2", {"dense": 0.1, "22k": 0.4})
    levels = {"dense": {"base_method": "full", "kept": "dense", "entries": 1000, "share": 1.0},
              "22k": {"base_method": "sparsegrad-planned", "kept": "22k", "entries": 10, "share": 0.01}}  # fmt: skip
    verdict = {"task": "sst2", "method": "sparsegrad-planned", "sentence": "nothing is lost."}
    result = {"reference": "dense", "synthetic": False, "rows": filed(runs, "sst2", **levels), "verdicts": [verdict]}
    (sweep,) = shelf_of(tmp_path, record("sparsity_quality", result=result), runs).sweeps
    (level,) = (level for level in sweep.levels if level.kept == "22k")
    assert level.verdict == "worse" and level.difference == pytest.approx(-0.3)
    said = told(sweep_table(sweep, "it"))
    assert "nothing is lost" not in said and "a loss of 30.0 points" in said and AS_FILED not in said
    (sweep,) = shelf_of(tmp_path / "alone", record("sparsity_quality", result=result)).sweeps
    said = told(sweep_table(sweep, "it"))
    assert "nothing is lost" in said and AS_FILED in said
