"""Whatever the commands file is read and has its place: real runs of a tiny model, nothing listed as unknown."""

from __future__ import annotations

import json

import pytest

from bench.capacity.__main__ import main as capacity
from bench.crossover.__main__ import main as crossover
from bench.gradients.__main__ import main as gradients
from bench.memory.__main__ import main as memory
from reports.contents import report
from reports.document import Document, Figure, Prose, Table
from reports.reading.shelf import Shelf, read_shelf
from tests.bench.conftest import CONFIG


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """What four commands filed, each asked for as little as it takes."""
    folder = tmp_path_factory.mktemp("real")
    model, out = folder / "tiny", folder / "results"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    tiny = ["--model", str(model), "--random-weights", "--device", "cpu", "--out", str(out), "--quiet", "--json"]
    assert capacity([*tiny, "--methods", "lora", "--max-length", "16", "--budget", "900KiB"]) == 0
    assert memory([*tiny, "--methods", "lora", "--batch-size", "2", "--max-length", "16"]) == 0
    small = ["--batch-size", "2", "--max-length", "16", "--calibration-steps", "2"]
    assert gradients([*tiny, *small, "--preliminary"]) == 0
    assert gradients([*tiny, *small, "--steps", "4", "--read-every", "2", "--block", "0"]) == 0
    grid = "--shapes 16x8 --tokens 128 --rounds 3 --active 25% --kept-list 5 --device cpu --drift note"
    assert crossover([*grid.split(), "--out", str(out), "--quiet", "--json"]) == 0
    return read_shelf([out])


@pytest.fixture(scope="module")
def document(shelf: Shelf) -> Document:
    """The report of it."""
    return report(shelf, folders=["results"], logs=None)


@pytest.mark.slow
def test_nothing_that_a_command_files_is_unknown_or_unreadable(shelf: Shelf) -> None:
    assert [(one.path, one.reason) for one in shelf.skipped] == []
    assert shelf.others == [] and shelf.failed == []
    kinds = {source.record.kind for source in shelf.sources}
    assert kinds == {
        *("capacity", "capacity_probe", "peak", "preliminary", "crossover"),
        *("gradients", "gradients_bases", "gradients_supports"),
    }


@pytest.mark.slow
def test_each_has_its_tables_and_drawings(document: Document) -> None:
    ids = {block.id for block in document.blocks() if isinstance(block, Table | Figure)}
    assert ids >= {
        *("capacity-1", "memory-1", "category-figure-1", "category-figure-1-largest", "preliminary"),
        *("crossover-1", "crossover-benefit-1", "crossover-figure-1-1", "parts"),
        *("gradients-1", "gradients-1-stripes", "gradient-maps-1-weights", "gradient-maps-1-stripes"),
        *("energy-figure-1-1", "zero-figure-1-1", "stability-figure-1-1-1", "core-figure-1-1"),
    }
    assert [block.text for block in document.blocks() if isinstance(block, Prose) and block.warning] == []
