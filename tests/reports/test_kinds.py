"""Kinds that have tables of their own: what was planted is what is shown, a failure is told, nothing is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.record import Record, Status
from bench.store import Store
from reports.contents import report
from reports.document import CellStatus, Figure, Section, Table
from reports.maps import crossover_maps
from reports.reading.shelf import PARTS, Shelf, read_shelf
from reports.tables.capacity import capacity_table
from reports.tables.compared import compared_table, judge_check_table
from reports.tables.cost import peak_table
from reports.tables.crossover import benefit_table, crossover_table
from reports.tables.preliminary import preliminary_table
from tests.reports.later_records import MIB, capacity, cell, compared, judge_check, preliminary
from tests.reports.small_records import GPU, chat, peak, record
from tests.reports.test_tables import cells


def shelf_of(folder: Path, *records: Record) -> Shelf:
    for made in records:
        Store(folder).write(made)
    shelf = read_shelf([folder])
    assert shelf.skipped == [] and shelf.others == []
    return shelf


def test_capacities_stand_beside_full_and_one_that_could_not_be_timed_stays(tmp_path: Path) -> None:
    late = capacity("meprop", 12, status=Status.OOM, reason="its steps were not timed: no room")
    (group,) = shelf_of(tmp_path, capacity("lora", 24), capacity("full", 8), capacity("shira", None), late).capacities
    table = capacity_table(group, "c")
    assert "largest batch of 128 tokens within 100 MiB" in table.title
    assert [(row[0].text, row[1].shown, row[2].shown) for row in table.rows] == [
        ("full", "8", "1.00"), ("lora", "24", "3.00"), ("shira", "n/a", "n/a"), ("meprop", "12", "1.50")
    ]  # fmt: skip
    told = cells(table, 2)
    assert (told["peak there"], told["sizes tried"]) == ("101.0", "2")  # of the least that was tried
    assert "meprop: oom: its steps were not timed: no room" in table.notes
    assert table.rows[1][1].detail is not None and table.rows[1][1].detail.samples[0].values == (1.0, 8.0)


def test_other_budgets_and_machines_share_no_table_of_capacity(tmp_path: Path) -> None:
    other = capacity("full", 4)
    other = replace(other, key="other", config={**other.config, "budget_bytes": 50 * MIB})
    measured = capacity("full", 6, key="gpu", environment=GPU)
    measured.result["instrument"] = "cuda max_memory_allocated"
    shelf = shelf_of(tmp_path, capacity("full", 8), capacity("lora", 8, environment=GPU), other, measured)
    assert sorted(len(group.sizes) for group in shelf.capacities) == [1, 1, 2]  # shapes know no machine


def test_a_crossover_says_who_wins_and_what_is_not_told_apart(tmp_path: Path) -> None:
    sure, open_ = cell({"planned": 2.0, "regular": 0.5}), cell({"sd": 1.5}, kept=64, clear=False)
    sure.result["sd_benefit"]["rest"] |= {"mean": 1.08, "low": 1.02, "high": 1.14}  # dense itself differs by 0.9 to 1.1
    (grid,) = shelf_of(tmp_path, open_, sure).crossover
    table = crossover_table(grid, "x")
    assert [row[-1].shown for row in table.rows] == ["planned", "~ sd, dense"]
    told = cells(table, 0)
    assert (told["layer"], told["active"], told["kept"]) == ("16 x 8", "25", "3.91")
    assert (told["dense"], told["planned"], told["regular"]) == ("10.00", "2.00x", "0.50x")
    assert table.rows[0][3].detail is not None and table.rows[0][3].detail.samples[0].values == (10.0,) * 3
    gains = cells(benefit_table(grid, "b"), 0)
    assert (gains["regular / sd"], gains["x the rest"]) == ("4.00x", "~ 1.08x")
    assert (gains["all entries / k"], gains["energy kept"]) == ("n/a", "0.700")
    (figure,) = crossover_maps(grid, "m")
    assert isinstance(figure, Figure)
    assert [[one.shown for one in row] for row in figure.data.rows] == [
        ["25", "3.91", "planned", "2.00"], ["25", "50", "~ sd", "1.50"]
    ]  # fmt: skip


def test_a_cell_that_failed_is_in_its_grid_with_the_reason(tmp_path: Path) -> None:
    made = cell({})
    made.result["ways"][1] |= {"status": "oom", "reason": "no room", "step_ms": None, "ratio_to_dense": None}
    failed = replace(made, status=Status.OOM, reason="regular: oom: no room")
    (grid,) = shelf_of(tmp_path, failed).crossover
    table = crossover_table(grid, "x")
    assert cells(table, 0)["regular"] == "oom"
    assert any("regular: oom: no room" in note for note in table.notes)
    made.result["ways"][1] |= {"status": "invalid", "reason": "the clock fell", "samples_ms": [4.0, 5.0]}
    distrusted = replace(made, key="0d", status=Status.INVALID, reason="regular: invalid: the clock fell")
    (grid,) = shelf_of(tmp_path / "more", distrusted).crossover
    assert any(note.endswith("kept: regular, ms a step by round: 4 5") for note in crossover_table(grid, "x").notes)


def test_an_unknown_way_is_listed_not_drawn(tmp_path: Path) -> None:
    made = cell({})
    made.result["winner"]["way"] = "magic"
    Store(tmp_path).write(made)
    shelf = read_shelf([tmp_path])
    assert shelf.crossover == [] and "result.winner" in shelf.skipped[0].reason


def test_both_ways_of_the_preliminary_phase(tmp_path: Path) -> None:
    streamed = preliminary("streamed", seconds=20.0, peak=100 * MIB, stack=3000 * MIB)
    stacked = preliminary("stacked", seconds=None, peak=None, stack=3000 * MIB)
    table = preliminary_table(shelf_of(tmp_path, streamed, stacked).preliminary, "p")
    by_way = {row[1].text: [cell.shown for cell in row[2:]] for row in table.rows}
    assert by_way["stacked"] == ["30", "n/a", "n/a", "381.5", "3,000", "computed, not measured"]
    assert by_way["streamed"] == ["30", "20.0", "481.5", "381.5", "", "measured"]


@pytest.mark.parametrize(("verdict", "status"), [("~", CellStatus.NOISE), ("better", CellStatus.OK)])
def test_a_whole_commands_verdicts(tmp_path: Path, verdict: str, status: CellStatus) -> None:
    (one,) = shelf_of(tmp_path, compared(verdict)).compared
    table = compared_table(one, "c")
    assert "equal params" in table.title
    told = cells(table, 1)
    assert (told["score"], told["p"], told["over one answer"], told["forgetting"]) == ("90.0", "0.4", "+30.0", "n/a")
    difference = table.rows[1][5]
    assert (difference.text, difference.interval, difference.status) == ("+1.0", "[-1.0, +3.0]", status)
    assert table.rows[0][-1].interval == "[+0.100, +0.300]"


def test_a_judge_beside_known_scores(tmp_path: Path) -> None:
    (one,) = shelf_of(tmp_path, judge_check()).judge_checks
    table = judge_check_table(one, "j")
    assert [row[0].text for row in table.rows] == ["all", "turn 1"]
    assert (table.rows[0][3].text, table.rows[0][3].interval) == ("-1.00", "[-1.20, -0.80]")
    assert table.notes == ("another judge", "judge: j")


def test_what_memory_is_held_for_is_told_where_it_was_read(tmp_path: Path) -> None:
    plain, apart = peak("lora", 3 * MIB), peak("full", 7 * MIB)
    apart.result.update(
        saved_for_backward_bytes=2 * MIB,
        leak_bytes_per_step=0,
        attribution_instrument="tracked",
        at_peak={
            "by_category_bytes": {"weights": 5 * MIB, "gradients": 2 * MIB},
            "by_layer": [{"layer": f"block {n}", "bytes": n * MIB} for n in range(5)],
            "by_role": [{"role": "intermediate", "bytes": 4 * MIB}],
        },
    )
    shelf = shelf_of(tmp_path, plain, apart)
    table = peak_table(shelf.peaks[0], "m")
    assert [(row[0].text, row[-2].shown, row[-1].shown) for row in table.rows] == [
        ("full", "2.0", "0.0"), ("lora", "n/a", "n/a")
    ]  # fmt: skip
    blocks = report(shelf, folders=["r"], logs=None).blocks()
    (largest,) = [block for block in blocks if isinstance(block, Table) and "largest layers" in block.title]
    assert [[cell.text for cell in row[1:]] for row in largest.rows] == [
        ["layer", "block 4", "4.0"], ["layer", "block 3", "3.0"], ["layer", "block 2", "2.0"],
        ["role", "intermediate", "4.0"],
    ]  # fmt: skip


def test_records_that_others_are_made_of_are_counted(tmp_path: Path) -> None:
    made = [record(kind, key, result={}) for kind in PARTS if kind != "peak" for key in ("one", "two")]
    made += [peak("lora", size, command="python -m bench.sparsity --out results") for size in (100, 200)]
    document = report(shelf_of(tmp_path, *made), folders=["r"], logs=None)
    (table,) = [block for block in document.blocks() if isinstance(block, Table) and block.id == "parts"]
    assert {row[0].text: row[3].sort for row in table.rows} == dict.fromkeys(PARTS, 2)
    assert len(document.runs) == 2 * len(PARTS)


def test_bases_made_for_conversations_are_a_preliminary_phase(tmp_path: Path) -> None:
    asked = {**chat("lora", [1.0, 2.0]).config, "data": "x/roleplay.jsonl", "task": None}
    bases = record("chat_calibration", config=asked,
                   result={"calibration_s": 3.0, "steps": 30, "threads": 2})  # fmt: skip
    (run,) = shelf_of(tmp_path, bases).calibrations
    assert run.seconds == 3.0
    (section,) = [one for one in report(shelf_of(tmp_path), folders=["r"], logs=None).sections if one.id == "memory"]
    assert isinstance(section, Section)
    table = section.blocks[0]
    assert isinstance(table, Table) and "roleplay.jsonl" in table.rows[0][0].text


def test_steps_at_the_largest_size_have_their_interval_or_the_reason_why_not(tmp_path: Path) -> None:
    timed, moved = capacity("full", 8), capacity("lora", 24, status=Status.INVALID, reason="its steps: clocks fell")
    interval = {"mean": 2.0, "low": 1.9, "high": 2.1, "rounds": 6}
    timed.result.update(steps_per_s=2.0, steps_per_s_interval=interval, samples_ms=[500.0] * 6, not_timed=None)
    moved.result.update(samples_ms=[400.0] * 6, not_timed=None)
    (group,) = shelf_of(tmp_path, timed, moved).capacities
    table = capacity_table(group, "c")
    assert (table.rows[0][-1].text, table.rows[0][-1].interval) == ("2.00", "[1.90, 2.10]")
    told = table.rows[1][-1]
    assert (told.shown, told.reason) == ("n/a", "its steps: clocks fell")
    assert "lora, ms a step by round: 400 400 400 400 400 400" in table.notes
    assert not any(note.startswith("full, ms") for note in table.notes)
