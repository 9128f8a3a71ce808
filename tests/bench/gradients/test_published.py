"""The published readings of pretrained MiniLM on CoLA, held against those that the project was planned on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.gradients.protocol import cores_of
from bench.gradients.summary import summary
from bench.record import Record, Status
from bench.store import Store

FOLDER = Path(__file__).resolve().parents[3] / "reports" / "published" / "2026-11-21-cpu-gradients"
UP, DOWN = "intermediate.dense", "output.dense"
# PAPER.md, "What we measured before writing a line": share of the squared gradient norm that 1% of the entries hold,
# mean over six blocks and nine later steps, by a prototype. (role, space, figure) -> share.
PROTOTYPE = {
    (UP, "none", "energy_share"): 0.63,
    (UP, "none", "fixed_energy_share"): 0.53,
    (DOWN, "none", "energy_share"): 0.32,
    (DOWN, "none", "fixed_energy_share"): 0.17,
    (UP, "in", "energy_share"): 0.71,
    (UP, "in", "fixed_energy_share"): 0.62,
    (DOWN, "in", "energy_share"): 0.57,
    (DOWN, "in", "fixed_energy_share"): 0.48,
    (UP, "out", "energy_share"): 0.61,
    (UP, "out", "fixed_energy_share"): 0.45,
    (DOWN, "out", "energy_share"): 0.50,
    (DOWN, "out", "fixed_energy_share"): 0.39,
    (UP, "normalised", "energy_share"): 0.70,
    (UP, "normalised", "fixed_energy_share"): 0.52,
    (DOWN, "normalised", "energy_share"): 0.65,
    (DOWN, "normalised", "fixed_energy_share"): 0.54,
    (UP, "per-block", "energy_share"): 0.75,
    (UP, "per-block", "fixed_energy_share"): 0.46,
    (DOWN, "per-block", "energy_share"): 0.75,
    (DOWN, "per-block", "fixed_energy_share"): 0.54,
    (UP, "per-block", "fixed_in_core_energy_share"): 0.44,
    (DOWN, "per-block", "fixed_in_core_energy_share"): 0.52,
}
# The same page: batch 16 padded to 128, 30 calibration batches, AdamW at 3e-5, everything trained, dropout off, read
# every tenth step from the 10th to the 90th.
PROTOCOL = {
    "random_weights": False,
    "task": "cola",
    "limit": None,
    "batch_size": 16,
    "max_length": 128,
    "padding": "max",
    "calibration_steps": 30,
    "lr": 3e-5,
    "trainable": "all",
    "dropout": 0.0,
    "dtype": "fp32",
    "steps": 90,
    "read_every": 10,
    "kept": 0.01,
    "core": [128, 128],
}


@pytest.fixture(scope="module")
def record() -> Record:
    records, damaged = Store(FOLDER).read_all()
    assert damaged == []
    kinds = [record.kind for record in records]
    assert sorted(kinds) == ["gradients", *["gradients_bases"] * 3, "gradients_supports"]
    assert {record.status for record in records} == {Status.OK}
    assert len({record.fingerprints["code"] for record in records}) == 1, "all pieces are of one code"
    return records[kinds.index("gradients")]


def by_space(record: Record) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["role"], row["space"]): row for row in record.result["summary"]["gradients"]}


def test_it_was_read_as_the_prototype_was(record: Record) -> None:
    assert {name: record.config[name] for name in PROTOCOL} == PROTOCOL
    assert "minilm" in record.config["model"].lower() and record.result["readings"] == list(range(10, 91, 10))
    linears = record.result["linears"]
    shapes = {(UP, 1536, 384, 5_898), (DOWN, 384, 1536, 5_898)}
    assert {(row["role"], row["out"], row["inner"], row["kept"]) for row in linears} == shapes
    assert [row["block"] for row in linears if row["role"] == UP] == list(range(6)) and len(linears) == 12
    assert all([tuple(core) for core in row["cores"]] == cores_of(row["out"], row["inner"]) for row in linears)
    assert len(record.result["rows"]) == 9 * 12 * 6 and len(record.result["dy_rows"]) == 9 * 12
    assert len(record.result["losses"]) == 90


def test_its_means_are_those_of_its_rows(record: Record) -> None:
    result = record.result
    assert result["summary"] == summary(result["rows"], result["dy_rows"])
    assert {(row["blocks"], row["readings"]) for row in by_space(record).values()} == {(6, 9)}


@pytest.mark.parametrize(("role", "space", "figure"), PROTOTYPE, ids=lambda word: word.split(".")[0])
def test_each_share_is_the_prototypes(role: str, space: str, figure: str, record: Record) -> None:
    assert by_space(record)[role, space][figure]["mean"] == pytest.approx(PROTOTYPE[role, space, figure], abs=0.05)


def test_the_stripes_are_padding_and_in_the_last_block_all_but_one_token(record: Record) -> None:
    """Of dL/dY: exact zeros. From the last block the classifier reads [CLS] alone, one row in 128."""
    for row in record.result["dy_rows"]:
        assert row["padding_that_is_zero_share"] == 1.0 and row["padding_share"] > 0.85
        if row["block"] == 5:
            assert row["zero_row_share"] == 1 - 1 / 128
        else:
            assert row["zero_rows_that_are_padding_share"] == 1.0 and row["zero_row_share"] == row["padding_share"]


def test_v_mixes_the_columns_and_leaves_the_rows(record: Record) -> None:
    for row in record.result["dy_rows"]:
        assert row["rotated_zero_column_share"] == 0.0
        assert row["rotated_nonzero_share"] == pytest.approx(1 - row["zero_row_share"], abs=0.001)
