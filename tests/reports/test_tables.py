"""Laws of the tables: planted figures come out as they were planted, what was not measured is n/a, a tie is marked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.presets import PRESETS
from bench.record import Status
from bench.store import Store
from eval.protocol import PAPER_SETTINGS
from reports.contents import report
from reports.document import CellStatus, Table
from reports.paper.published import COST, OTHER_SETTINGS, PARAMETERS
from reports.reading.shelf import Shelf, read_shelf
from reports.tables.chat import chat_table
from reports.tables.cost import peak_table, speed_table
from reports.tables.paper_cost import cost_table
from reports.tables.paper_quality import average_table, task_table
from reports.tables.paper_sizes import parameter_table, settings_table
from reports.tables.quality import quality_table
from tests.reports.small_records import GPU, chat, peak, quality, speed


def cells(table: Table, row: int) -> dict[str, str]:
    """Column -> what is shown."""
    return {column.name: cell.shown for column, cell in zip(table.columns, table.rows[row], strict=True)}


def test_a_speed_table_says_ratio_tie_and_failure(tmp_path: Path) -> None:
    made = speed({"full": [10.0, 10.2, 9.8], "lora": [5.0, 5.1, 4.9], "meprop": [10.1, 10.0, 9.9]},
                 aa=[10.1, 10.1, 9.8])  # fmt: skip
    made.result["rows"].append({"method": "shira", "status": "oom", "reason": "no room", "steps_per_s": None})
    Store(tmp_path).write(made)
    (run,) = read_shelf([tmp_path]).speed
    table = speed_table(run, "speed-1")
    assert cells(table, 1)["speed"] == "2.00x"
    assert cells(table, 2)["speed"].startswith("~ ")
    assert (cells(table, 3)["steps/s"], cells(table, 3)["speed"]) == ("oom", "n/a")
    assert "shira: oom: no room" in table.notes
    detail = table.rows[1][2].detail
    assert detail is not None and detail.samples[0].values == (5.0, 5.1, 4.9)


def test_a_peak_table_has_full_first_and_ratios(tmp_path: Path) -> None:
    for method, size in (("lora", 700), ("full", 1000)):
        Store(tmp_path).write(peak(method, size))
    (group,) = read_shelf([tmp_path]).peaks
    assert [row[0].text for row in peak_table(group, "m").rows] == ["full", "lora"]
    assert peak_table(group, "m").rows[1][2].text == "0.700"


def test_a_quality_table_calls_a_tie_a_tie(tmp_path: Path) -> None:
    labels = [0, 1] * 20
    flip = [1, 0, *labels[2:]]
    for seed in range(3):
        Store(tmp_path).write(quality("full", seed, labels, labels))
        Store(tmp_path).write(quality("lora", seed, flip, labels))
    (one,) = read_shelf([tmp_path]).quality
    table = quality_table(one, "quality-1")
    told = cells(table, 1)
    assert (told["accuracy"], told["difference to full"]) == ("95.0", "~ -5.0")
    assert table.rows[0][4].status is CellStatus.NOT_MEASURED


def test_a_method_alone_has_a_score_and_no_table_of_its_own(tmp_path: Path) -> None:
    labels = [0, 1] * 20
    for seed in range(3):
        Store(tmp_path).write(quality("full", seed, [1, 0, *labels[2:]], labels))
        Store(tmp_path).write(quality("full", seed, labels, labels, task="rte"))
        Store(tmp_path).write(quality("lora", seed, labels, labels, task="rte"))
    shelf = read_shelf([tmp_path])
    told = {block.id: block for block in report(shelf, folders=["r"], logs=None).blocks() if isinstance(block, Table)}
    assert "quality-1" in told and "quality-2" not in told
    shown = cells(told["alone"], 0)
    assert len(told["alone"].rows) == 1
    assert (shown["method"], shown["metric"], shown["score"], shown["seeds"]) == ("full", "accuracy", "95.0", "3")


def test_table_3_is_comparable_on_the_papers_setting_alone(tmp_path: Path) -> None:
    empty = cost_table(Shelf())
    assert {row[3].status for row in empty.rows} == {CellStatus.NOT_MEASURED}
    assert [row[1].sort for row in empty.rows] == [speed.value for speed, _ in COST.values()]
    made = speed({"full": [10.0, 10.2], "lora": [5.0, 5.1]})
    Store(tmp_path).write(made)
    assert cost_table(read_shelf([tmp_path])).rows[1][3].status is CellStatus.INCOMPARABLE
    Store(tmp_path).write(speed({"full": [10.0, 10.2], "lora": [4.0, 4.08]}, key="gpu", environment=GPU))
    assert cost_table(read_shelf([tmp_path])).rows[1][3].text == "2.50x"


def test_printed_and_counted_stand_side_by_side() -> None:
    table = parameter_table()
    assert cells(table, 1)["roberta-large, counted"] == "201.4"
    assert cells(table, 1)["bert-base, printed"] == "57 (also read: 54)"
    assert {model for _, model in PARAMETERS} <= set(PRESETS)


def test_settings_are_the_protocols_own_with_the_other_reading() -> None:
    table = settings_table()
    assert cells(table, 0)["roberta-base"] == "16, 2.10e-05 [16, 2.70e-05]"
    assert all(OTHER_SETTINGS[key] != PAPER_SETTINGS[key] for key in OTHER_SETTINGS)


def test_uncertain_printed_values_are_no_numbers() -> None:
    averages, by_task = average_table(Shelf(), None), task_table("roberta-large", Shelf(), None)
    assert cells(averages, 0)["roberta-large, printed"] == "uncertain"
    assert cells(by_task, 0)["sst2"] == "uncertain"
    assert averages.rows[0][7].sort is None


def test_conversations_are_paired(tmp_path: Path) -> None:
    for seed in range(2):
        Store(tmp_path).write(chat("full", [1.0, 2.0, 4.0], seed=seed))
        Store(tmp_path).write(chat("lora", [1.5, 2.5, 4.5], seed=seed))
    (one,) = read_shelf([tmp_path]).chat
    table = chat_table(one, "chat-1")
    assert table.rows[1][2].text == "+0.5000"
    assert table.rows[0][1].sort == pytest.approx(7 / 3)


def test_a_run_on_a_machine_that_did_not_hold_still_has_reasons_and_samples_and_no_figure(tmp_path: Path) -> None:
    """As bench.speed prints it: nothing is taken from its samples, the A/A pair's among them."""
    made = speed({"full": [10.0, 11.0, 12.0], "lora": [5.0, 6.0, 7.0]})
    for row in (*made.result["rows"], made.result["aa"]):
        row.update(status="invalid", reason="the clock fell", steps_per_s=None)
    Store(tmp_path).write(replace(made, status=Status.INVALID, reason="full, lora: the clock fell"))
    (run,) = read_shelf([tmp_path]).speed
    assert run.aa is None and run.speed("lora") is None and run.told("lora") is None
    told = speed_table(run, "speed-1")
    assert [cells(told, row)["steps/s"] for row in (0, 1)] == ["invalid", "invalid"]
    assert [cells(told, row)["speed"] for row in (0, 1)] == ["n/a", "n/a"]
    assert {"lora: invalid: the clock fell", "lora, ms a step by round: 5 6 7"} < set(told.notes)
