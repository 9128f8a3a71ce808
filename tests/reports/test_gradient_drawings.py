"""Gradients on the page: lines at the means of what was read, pictures of what was kept, tables of its means."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.record import Record
from reports.document import Figure, Prose, Table
from reports.gradient_curves import core_blocks, energy_blocks, stability_blocks, zero_blocks
from reports.maps import gradient_maps
from reports.reading.gradients import GradientRun, read_gradients
from reports.tables.gradients import gradient_tables
from reports.vector import inline_svg
from tests.reports.later_records import pictured
from tests.reports.small_records import gradients, source

PUBLISHED = Path(__file__).resolve().parents[2] / "reports" / "published"


def run_of(made: Record) -> GradientRun:
    return read_gradients(source(made))


def points(figure: Figure) -> dict[str, list[tuple[Any, Any]]]:
    """By line: where, and how much."""
    found: dict[str, list[tuple[Any, Any]]] = {}
    for name, at, value in figure.data.rows:
        found.setdefault(name.text, []).append((at.sort, value.sort))
    return found


def drawn(blocks: list[Any]) -> list[Figure]:
    assert all(isinstance(block, Figure) for block in blocks)
    return blocks


def test_supports_are_followed_through_training() -> None:
    before, calibration = drawn(stability_blocks(run_of(pictured()), "s"))
    assert "the step before" in before.title and "calibration" in calibration.title
    assert points(before)["none"] == [(10, 0.5), (20, 0.5)]
    assert points(calibration)["shared"] == [(10, pytest.approx(0.3)), (20, pytest.approx(0.4))]


def test_zeros_of_all_three_gradients() -> None:
    (figure,) = drawn(zero_blocks(run_of(pictured()), "z"))
    assert points(figure) == {
        "dL/dY, nonzero": [(10, 0.1), (20, 0.1)],
        "dL/dW, nonzero": [(10, 0.5), (20, 0.5)],
        "dL/dW~, nonzero": [(10, 0.5), (20, 0.5)],
        "dL/dW, holding 99%": [(10, 0.4), (20, 0.4)],
        "dL/dW~, holding 99%": [(10, 0.4), (20, 0.4)],
    }


def test_a_core_is_told_by_its_longer_side() -> None:
    (figure,) = drawn(core_blocks(run_of(pictured()), "c"))
    assert points(figure) == {name: [(2, 0.5), (6, 1.0)] for name in ("normalised", "shared")}


def test_pictures_carry_their_pixels_and_their_zeros_are_counted() -> None:
    weights, stripes = drawn(gradient_maps(run_of(pictured()), "m"))
    assert weights.wide and stripes.wide
    assert [row[2].text for row in weights.data.rows] == ["|dL/dW|", "|dL/dW~|"]
    assert [row[5].sort for row in stripes.data.rows] == [0.5, 0.5]
    for figure in (weights, stripes):
        assert str(inline_svg(figure.svg, figure.id, figure.alt)).count('href="data:image/png;base64,') >= 2


def test_means_stand_with_the_least_and_most_block() -> None:
    told, stripes = gradient_tables(run_of(pictured()), "g")
    assert isinstance(told, Table) and isinstance(stripes, Table)
    assert (told.rows[0][2].text, told.rows[0][2].interval) == ("0.5", "[0.4, 0.6]")
    assert "shared: the paper's" in told.notes[0]
    assert stripes.rows[0][1].text == "0.5"


def test_a_record_of_shares_alone_has_none_of_it() -> None:
    run = run_of(gradients({"none": [0.3], "shared": [0.6]}))
    for draw in (energy_blocks, zero_blocks, stability_blocks, core_blocks, gradient_maps, gradient_tables):
        assert draw(run, "x") == []


def test_what_cannot_be_drawn_is_a_line() -> None:
    made = pictured()
    damages: list[dict[str, Any]] = [{"pictures": [{}]}, {"pictures": 3}, {"stripe_pictures": [{"linear": "?"}]}]
    for damage in damages:
        (told,) = gradient_maps(run_of(replace(made, result={**made.result, **damage})), "m")
        assert isinstance(told, Prose) and told.warning and told.text.startswith("Not shown: ")


def test_what_is_published_is_drawn() -> None:
    path = next(PUBLISHED.glob("*/gradients/*.json"))
    run = run_of(Record.from_json(path.read_text()))
    roles = len(run.roles())
    assert len(drawn(energy_blocks(run, "e"))) == len(drawn(zero_blocks(run, "z"))) == roles
    assert len(drawn(core_blocks(run, "c"))) == roles and len(drawn(stability_blocks(run, "s"))) == 2 * roles
    assert all(isinstance(table, Table) for table in gradient_tables(run, "g"))
    summary = json.loads(path.read_text())["result"]["summary"]["gradients"][0]
    assert gradient_tables(run, "g")[0].rows[0][2].sort == summary["energy_share"]["mean"]  # type: ignore[union-attr]
