"""Ratings and capacities drawn: every model with its interval, what has no reference is not drawn."""

from __future__ import annotations

from pathlib import Path

from bench.store import Store
from reports.document import CellStatus, Figure
from reports.dots import capacity_figure, judged_figure
from reports.reading.shelf import read_shelf
from reports.tables.quality import judged_table
from tests.reports.later_records import capacity, rated


def test_ratings_are_drawn_beside_the_first_model_and_their_samples_are_by_question(tmp_path: Path) -> None:
    made = rated({"a": [5.0, 6.0], "b": [7.0, 9.0]})
    first, second = (one["model"] for one in made.result["models"])
    made.result["differences"] = [
        {"model": second, "from": first, "value": 2.5, "low": -0.1, "high": 5.1, "verdict": "~"}
    ]
    Store(tmp_path).write(made)
    (run,) = read_shelf([tmp_path]).judged
    (figure,) = judged_figure(run, "ratings")
    assert isinstance(figure, Figure)
    assert [row[0].text for row in figure.data.rows] == [first, second]
    assert [row[1].status for row in figure.data.rows] == [CellStatus.OK, CellStatus.NOISE]
    table = judged_table(run, "judged")
    assert table.rows[1][1].detail is not None and table.rows[1][1].detail.samples[0].values == (7.0, 9.0)
    assert table.rows[1][2].detail is not None and table.rows[1][2].detail.samples[0].values == (2.0, 3.0)


def test_one_model_has_nothing_to_stand_beside(tmp_path: Path) -> None:
    Store(tmp_path).write(rated({"a": [5.0, 6.0]}))
    (run,) = read_shelf([tmp_path]).judged
    assert judged_figure(run, "ratings") == []


def test_what_fits_is_drawn_over_full(tmp_path: Path) -> None:
    for made in (capacity("full", 8), capacity("lora", 24), capacity("shira", None)):
        Store(tmp_path).write(made)
    (group,) = read_shelf([tmp_path]).capacities
    (figure,) = capacity_figure(group, "capacity")
    assert isinstance(figure, Figure)
    assert [[cell.shown for cell in row] for row in figure.data.rows] == [["lora", "3"]]


def test_without_full_there_is_no_ratio_to_draw(tmp_path: Path) -> None:
    for made in (capacity("lora", 24), capacity("shira", 8)):
        Store(tmp_path).write(made)
    (group,) = read_shelf([tmp_path]).capacities
    assert capacity_figure(group, "capacity") == []
