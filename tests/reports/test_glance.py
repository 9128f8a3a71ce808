"""The two drawings at the report's top: which run speaks for a model, which comparison for a task, and what is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli import DONE
from bench.record import Record
from bench.store import Store
from reports.__main__ import main
from reports.figures.marks import Axis, Estimate
from reports.figures.panels import Panel, panels
from reports.glance import PICTURES, cost_at_a_glance, quality_at_a_glance
from reports.reading.shelf import Shelf, read_shelf
from tests.reports.small_records import quality, speed

FULL = [10.0, 10.0, 10.0]
LABELS = [0, 1] * 20


def shelf_of(folder: Path, *records: Record) -> Shelf:
    store = Store(folder / "results")
    for one in records:
        store.write(one)
    return read_shelf([folder / "results"])


def cells(figure: object) -> dict[str, list[str]]:
    return {row[0].text: [cell.shown for cell in row[1:]] for row in figure.data.rows}  # type: ignore[attr-defined]


def test_of_each_model_the_run_with_the_most_methods_is_drawn(tmp_path: Path) -> None:
    shelf = shelf_of(
        tmp_path,
        speed({"full": FULL, "lora": [8.0, 8.0, 8.0], "frozen": [5.0, 5.0, 5.0]}, key="aa"),
        speed({"full": FULL, "lora": [2.0, 2.0, 2.0]}, key="bb"),
    )
    figure = cost_at_a_glance(shelf, "glance-cost")
    assert figure is not None
    told = cells(figure)
    assert set(told) == {"lora", "frozen"}
    assert [told["lora"][0].split()[-1], told["frozen"][0].split()[-1]] == ["0.8", "0.5"], "time over full's, not speed"


def test_no_model_without_a_second_method(tmp_path: Path) -> None:
    assert cost_at_a_glance(shelf_of(tmp_path, speed({"full": FULL})), "glance-cost") is None


def test_each_task_has_its_panel_and_ties_are_hollow(tmp_path: Path) -> None:
    wrong = [1 - label for label in LABELS[:4]] + LABELS[4:]
    records = [
        quality(method, seed, predictions, LABELS, task=task)
        for task in ("rte", "sst2")
        for method, predictions in (("full", wrong), ("lora", LABELS))
        for seed in (0, 1, 2)
    ]
    figure = quality_at_a_glance(shelf_of(tmp_path, *records), "glance-quality")
    assert figure is not None
    assert [column.name for column in figure.data.columns] == ["method", "rte: accuracy", "sst2: accuracy"]
    assert cells(figure)["lora"][1] == "10"


def test_both_are_files_beside_the_page(tmp_path: Path) -> None:
    shelf_of(tmp_path, speed({"full": FULL, "lora": [8.0, 8.1, 8.0]}))
    assert main(["--results", str(tmp_path / "results"), "--out", str(tmp_path / "out"), "--quiet"]) == DONE
    cost, quality_ = (tmp_path / "out" / f"{name}.svg" for name in PICTURES)
    assert cost.read_bytes().startswith(b"<?xml") and not quality_.exists()
    assert 'id="glance"' in (tmp_path / "out" / "report.html").read_text()


def panel(**tied: bool) -> Panel:
    estimates = {"lora": Estimate(value=1.1, low=1.0, high=1.2), "frozen": Estimate(value=0.5)}
    hollow = frozenset(("a", name) for name, is_tied in tied.items() if is_tied)
    return Panel(title="Time", axis=Axis(name="over full's", unit="x"), at=1.0, series={"a": estimates}, tied=hollow)


def test_a_panel_says_what_was_not_measured_and_what_is_tied() -> None:
    figure = panels("p", "Cost", ["lora", "frozen", "other"], [panel(lora=True)], width=2)
    assert cells(figure) == {"lora": ["~ 1.1"], "frozen": ["0.5"], "other": ["n/a"]}
    assert "lora 1.1, frozen 0.5" in figure.alt and figure.wide
    assert figure.svg != panels("p", "Cost", ["lora", "frozen", "other"], [panel()], width=2).svg


def test_without_names_there_is_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        panels("p", "Cost", [], [panel()], width=2)
    with pytest.raises(ValueError, match="nothing to draw"):
        panels("p", "Cost", ["lora"], [], width=2)
