"""The table over tasks: planted differences come out, ties are told over the whole table, the mean needs every task."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.store import Store
from reports.contents import report
from reports.document import Table
from reports.reading.several import difference_of, of_one_model, over_tasks
from reports.reading.shelf import Shelf, read_shelf
from reports.tables.across import across_table
from tests.reports.small_records import quality

LABELS = [0, 1] * 50
SEEDS = range(3)


def wrong(number: int, seed: int) -> list[int]:
    """The labels with so many mistakes, and other ones by seed."""
    turned = {(7 * place + seed) % len(LABELS) for place in range(number)}
    return [1 - label if place in turned else label for place, label in enumerate(LABELS)]


def shelf_of(folder: Path, mistakes: dict[tuple[str, str], int]) -> Shelf:
    for (method, task), number in mistakes.items():
        for seed in SEEDS:
            Store(folder).write(quality(method, seed, wrong(number + seed, seed), LABELS, task=task))
    return read_shelf([folder])


def cells(table: Table, method: str) -> dict[str, str]:
    (row,) = (row for row in table.rows if row[0].text == method)
    return {column.name: cell.shown for column, cell in zip(table.columns, row, strict=True)}


TWO = {
    ("full", "rte"): 5, ("full", "sst2"): 5,
    ("lora", "rte"): 5, ("lora", "sst2"): 45,
    ("meprop", "sst2"): 5,
}  # fmt: skip


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return shelf_of(tmp_path, TWO)


def test_scores_differences_and_their_mean_stand_side_by_side(shelf: Shelf) -> None:
    (tasks,) = of_one_model(shelf.quality)
    table = across_table(tasks, "across-1")
    told = cells(table, "lora")
    assert told["sst2, accuracy"] == "54.0" and told["rte, accuracy"] == "94.0"
    assert (told["sst2, to full"], told["rte, to full"], told["mean, to full"]) == ("-40.0", "~ +0.0", "-20.0")
    assert cells(table, "full")["mean, to full"] == "n/a"


def test_behind_a_mean_stand_the_runs_and_each_seed_s_difference_by_task(shelf: Shelf) -> None:
    (tasks,) = of_one_model(shelf.quality)
    (row,) = (row for row in across_table(tasks, "across-1").rows if row[0].text == "lora")
    detail = row[-1].detail
    assert detail is not None and len(detail.runs) == 12  # two methods, two tasks, three seeds
    points = {samples.name: samples.values for samples in detail.samples}
    assert points["sst2: lora minus full, by seed"] == pytest.approx([-40.0] * 3)
    assert points["rte: lora minus full, by seed"] == pytest.approx([0.0] * 3)


def test_a_method_that_was_not_run_on_every_task_has_no_mean(shelf: Shelf) -> None:
    (tasks,) = of_one_model(shelf.quality)
    told = cells(across_table(tasks, "across-1"), "meprop")
    assert (told["sst2, to full"], told["rte, to full"], told["mean, to full"]) == ("~ +0.0", "n/a", "n/a")


def test_ties_are_told_over_all_differences_of_the_table(shelf: Shelf) -> None:
    (tasks,) = of_one_model(shelf.quality)
    assert any("over all 3 differences of this table, and over the 1 means" in note
               for note in across_table(tasks, "across-1").notes)  # fmt: skip


def test_the_interval_of_one_task_is_that_of_its_own_table(shelf: Shelf) -> None:
    one = next(one for one in shelf.quality if one.task == "sst2")
    (row,) = (row for row in one.rows("full") if row["method"] == "lora")
    told = difference_of(one, "lora", "full")
    assert told is not None
    mean, low, high, p = over_tasks([told])
    own = row["difference"]
    assert (mean, low, high, p) == pytest.approx((own["mean"], own["low"], own["high"], own["p"]))


def test_what_has_not_learned_is_named(tmp_path: Path) -> None:
    made = shelf_of(tmp_path, {**TWO, ("lora", "sst2"): 49})
    (tasks,) = of_one_model(made.quality)
    (line,) = (note for note in across_table(tasks, "across-1").notes if "one answer given to all" in note)
    assert line.endswith("says nothing: lora on sst2.")


def test_one_task_has_no_table_over_tasks(tmp_path: Path) -> None:
    made = shelf_of(tmp_path, {pair: number for pair, number in TWO.items() if pair[1] == "sst2"})
    assert of_one_model(made.quality) == []


def test_the_report_has_it_before_the_tables_of_each_task(shelf: Shelf) -> None:
    (section,) = (one for one in report(shelf, folders=["here"], logs=None).sections if one.id == "quality")
    ids = [block.id for block in section.blocks if isinstance(block, Table)]
    assert ids[:3] == ["across-1", "quality-1", "quality-2"]
