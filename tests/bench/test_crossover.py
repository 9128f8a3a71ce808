"""``bench.crossover`` from its words to its records: resume, dry run, refusals, a cell that fails, the heat map."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

import bench.crossover.cells
from bench.cli import run
from bench.crossover.__main__ import PROG, main
from bench.crossover.figure import heat_map
from bench.crossover.grid import Cell
from bench.crossover.measure import measure_cell
from bench.crossover.ways import DENSE
from bench.errors import BadRequest
from bench.fresh import Outcome
from bench.record import Status
from bench.store import Store
from tests.bench.speed_run import files, run_here, strict

ACTIVE, KEPT = ("0.25", "100%"), ("5", "dense")


def words(out: Path, *more: str) -> list[str]:
    line = "--shapes 16x8 --tokens 128 --rounds 2 --device cpu --drift note"
    return [*line.split(), "--active", *ACTIVE, "--kept-list", *KEPT, "--out", str(out), *more]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.crossover.cells, "run_fresh", run_here)


def test_a_cell_each_and_again_is_a_no_op(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(words(out, "--json", "--quiet")) == 0
    value = strict(capfd.readouterr().out)
    grid = [(cell["config"]["active"], cell["config"]["kept"]) for cell in value["cells"]]
    assert grid == [(0.25, 5), (0.25, 128), (1.0, 5), (1.0, 128)]
    for cell in value["cells"]:
        assert cell["status"] == "ok" and all(len(row["samples_ms"]) == 2 for row in cell["ways"])
        assert len(cell["machine"]["readings"]) == 3
        assert cell["energy_share"] == pytest.approx(1.0) if cell["config"]["kept"] == 128 else cell["energy_share"] < 1
    before = files(out)
    assert len(list(out.glob("crossover/*.json"))) == 4 and len(list(out.glob("figures/*"))) == 2
    assert main(words(out)) == 0
    printed, said = capfd.readouterr()
    assert said == "bench.crossover: all 4 cells are measured already; --fresh measures again\n"
    assert "What sd gains over regular" in printed and printed.count("16x8") == 8 and files(out) == before


def test_the_next_run_goes_on_where_one_was_interrupted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, measured = tmp_path / "out", []

    def stopped(function: Any, cell: Cell, drift: str) -> Outcome:
        measured.append(cell)
        if len(measured) == 3:
            raise KeyboardInterrupt
        return run_here(function, cell, drift)

    monkeypatch.setattr(bench.crossover.cells, "run_fresh", stopped)
    monkeypatch.setattr(sys, "argv", ["crossover", *words(out)])
    with pytest.raises(SystemExit) as end:
        run(main, PROG)
    assert end.value.code == 130
    records, damaged = Store(out).read_all("crossover")
    assert not damaged and sorted(record.status for record in records) == ["interrupted", "ok", "ok"]
    capfd.readouterr()
    assert main(words(out, "--dry-run", "--json")) == 0
    plan = strict(capfd.readouterr().out)
    assert [told.split(",")[0] for told in plan.values()][:4] == ["measured already"] * 2 + ["to be measured"] * 2
    assert main(words(out, "--json", "--quiet")) == 0
    assert len(measured) == 5, "the interrupted cell and the last one"
    assert all(cell["status"] == "ok" for cell in strict(capfd.readouterr().out)["cells"])


def test_a_cell_that_fails_is_a_row_and_tried_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One cell without memory for its problem, in another a way that goes astray."""

    def measure(cell: Cell, drift: str) -> dict[str, Any]:
        if (cell.active, cell.kept) == (0.25, 5):
            raise torch.OutOfMemoryError("no room")
        return measure_cell(cell, drift)

    with monkeypatch.context() as patched:
        patched.setattr(bench.crossover.cells, "measure_cell", measure)
        assert main(words(tmp_path / "out", "--quiet")) == 1
    printed = capfd.readouterr().out
    assert "16x8, 25%, 3.91%: oom: OutOfMemoryError: no room" in printed
    assert main(words(tmp_path / "out", "--quiet")) == 0
    assert len(Store(tmp_path / "out").read_all("crossover")[0]) == 5


def test_a_dry_run_measures_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(words(tmp_path / "out", "--dry-run")) == 0
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 5 and lines[0] == "16x8, 25% of rows active, 5 entries kept: to be measured"
    assert lines[-1].startswith("time: about ") and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--shapes 16", "--shapes '16' is no layer; give OUTxIN"),
        ("--shapes 0x8", "--shapes '0x8'"),
        ("--active 0", "--active '0' is no share"),
        ("--active 101%", "--active '101%'"),
        ("--active nan", "--active 'nan'"),
        ("--active 0.1%", "--active '0.1%' is less than a row of 128; give 0.0078 or more"),
        ("--kept-list 129", "--kept-list 129: .*a 16x8 layer, which has 128: give 1 to 128"),
        ("--kept-list some", "--kept-list 'some'"),
        ("--tokens 100", "--tokens 100 is no multiple of 128"),
        ("--decay -1", "--decay -1 is out of range"),
        ("--rounds 0", "--rounds 0"),
        ("--seed -1", "--seed -1"),
        ("--methods sd", "unrecognized arguments"),
    ],
)
def test_refusals_are_one_line(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=message) as refused:
        main([*words(tmp_path / "out"), *line.split()])
    assert "\n" not in str(refused.value) and not list(tmp_path.rglob("*.json"))


def test_equal_wishes_are_one_cell(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    more = ("--active", "0.25", "25%", "--kept-list", "64", "50%", "0.5", "--dry-run", "--json")
    assert main([*words(tmp_path / "out"), *more]) == 0
    assert len(strict(capfd.readouterr().out)) == 2


def test_the_heat_map_is_the_same_file_each_time(tmp_path: Path) -> None:
    """And is drawn where a cell has failed."""
    assert main(words(tmp_path / "out", "--quiet", "--json")) == 0
    records, _ = Store(tmp_path / "out").read_all("crossover")
    records[0] = replace(records[0], status=Status.OOM, reason="no room", result={})
    first, second = heat_map(records), heat_map(records)
    assert first == second and first["png"].startswith(b"\x89PNG")
    text = "".join(ElementTree.fromstring(first["svg"]).itertext())
    assert "nan" not in text.lower()


def test_words_stay_in_their_squares_however_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest there are, in a grid of seven shares of rows and six of entries."""
    assert main(words(tmp_path / "out", "--quiet", "--json", "--active", "1", "--kept-list", "5")) == 0
    ((one,), _) = Store(tmp_path / "out").read_all("crossover")
    longest = {"winner": {"way": DENSE, "over": "torch-coo", "clear": False}, "ways": one.result["ways"]}
    records = [
        replace(one, config={**one.config, "active": (1 + active) / 7, "kept": kept}, result=longest)
        for active in range(7)
        for kept in range(1, 7)
    ]
    drawn: dict[str, Any] = {}
    monkeypatch.setattr("bench.crossover.figure.figure_bytes", lambda figure, kind: drawn.setdefault(kind, figure))
    heat_map(records)
    figure = drawn["png"]
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (panel,) = figure.axes
    for text in panel.texts:
        x, y = text.get_position()
        (left, low), (right, high) = panel.transData.transform([(x - 0.5, y - 0.5), (x + 0.5, y + 0.5)])
        box = text.get_window_extent(canvas.get_renderer())
        assert left <= box.x0 <= box.x1 <= right and low <= box.y0 <= box.y1 <= high


def test_a_figure_cut_short_is_none_to_the_rerun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(path: Path, content: bytes) -> int:
        path.write_text("cut short")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full_disk)
        with pytest.raises(OSError, match=r"cannot write the figure crossover-[0-9a-f]+\.svg: No space left"):
            main(words(tmp_path / "out", "--quiet"))
    assert not list((tmp_path / "out" / "figures").iterdir())
    assert main(words(tmp_path / "out", "--quiet")) == 0
    assert all(path.stat().st_size > 1000 for path in (tmp_path / "out" / "figures").iterdir())
