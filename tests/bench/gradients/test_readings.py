"""The figures of a whole run against gradients taken by hand, without the reader and its rotations."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.cli import request_of
from bench.gradients.pieces import measure_bases, measure_supports, measure_training
from bench.gradients.protocol import Protocol
from bench.gradients.spaces import CALIBRATIONS, SPACES
from bench.gradients.words import parser
from bench.request import Request
from sparsegrad import Bases
from sparsegrad.roles import find_targets

KEPT, CORE, STEPS, CALIBRATION = 10, (6, 7), 4, 3
PROTOCOL = Protocol(steps=STEPS, read_every=2, block=1)


@pytest.fixture(scope="module")
def request_here(speed_model: Path) -> Request:
    line = f"--random-weights --batch-size 4 --max-length 16 --calibration-steps {CALIBRATION} --lr 1e-2 --device cpu"
    core = f"--core {CORE[0]} {CORE[1]} --kept {KEPT}"
    return request_of(parser().parse_args(["--model", str(speed_model), *line.split(), *core.split()]))


@pytest.fixture(scope="module")
def run(request_here: Request, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("run")
    places = {name: folder / name for name in CALIBRATIONS}
    for name, place in places.items():
        measure_bases(request_here, PROTOCOL, name, place)
    calibrated = measure_supports(request_here, PROTOCOL, places, folder / "supports")
    read = measure_training(request_here, PROTOCOL, places, folder / "supports")
    return {"read": read, "calibrated": calibrated, "bases": {name: Bases.load(at) for name, at in places.items()}}


def through(space: str, bases: dict[str, Bases], role: str, name: str, g: torch.Tensor) -> np.ndarray:
    """The gradient in a space, by two products in double precision."""
    of = SPACES[space]
    matrix: np.ndarray = g.double().numpy()
    if of.calibration is not None:
        table = bases[of.calibration].table
        basis = table[name] if name in table else table[role]
        assert basis.u is not None and basis.v is not None
        if of.sides in ("both", "in"):
            matrix = matrix @ basis.u.numpy().T
        if of.sides in ("both", "out"):
            matrix = basis.v.numpy() @ matrix
    return matrix


def by_hand(request: Request, bases: dict[str, Bases]) -> dict[tuple[int, str, str], dict[str, float]]:
    """Train with torch's own AdamW, keep every gradient, and read all of them at the end."""
    workload = request.workload(STEPS)
    model = workload.build()
    targets = find_targets(model)

    def gradients(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        model.zero_grad()
        model(**batch).loss.backward()
        found = {target.name: target.weight.grad for target in targets}
        return {name: g.clone() for name, g in found.items() if g is not None}

    calibration = [gradients(batch) for batch in workload.calibration_batches]
    optimizer = torch.optim.AdamW(model.parameters(), lr=request.lr, weight_decay=0.0)
    steps = []
    for batch in workload.batches:
        steps.append(gradients(batch))
        optimizer.step()
    told = {}
    for space in SPACES:
        for target in targets:
            role, name = target.role, target.name
            seen = [through(space, bases, role, name, step[name]) ** 2 for step in steps]
            squares = [through(space, bases, role, name, one[name]) ** 2 for one in calibration]
            alike = space == "normalised"  # as sparsegrad.calibrate(normalise=True, kept=...) has it
            energy = np.sum([one / one.sum() if alike else one for one in squares], axis=0)
            fixed = np.argsort(energy.ravel())[::-1][:KEPT]
            inside = np.zeros_like(energy)
            inside[: CORE[0], : CORE[1]] = energy[: CORE[0], : CORE[1]]
            in_core = np.argsort(inside.ravel())[::-1][:KEPT]
            for at in PROTOCOL.readings:
                now, before = seen[at - 1], seen[at - 2]
                largest, earlier = (set(np.argsort(one.ravel())[::-1][:KEPT].tolist()) for one in (now, before))
                told[at, space, name] = {
                    "energy_share": np.sort(now.ravel())[::-1][:KEPT].sum() / now.sum(),
                    "fixed_energy_share": now.ravel()[fixed].sum() / now.sum(),
                    "fixed_in_core_energy_share": now.ravel()[in_core].sum() / now.sum(),
                    "core_16": now[:16, :16].sum() / now.sum(),
                    "jaccard_step_before": len(largest & earlier) / len(largest | earlier),
                    "overlap_calibration": len(largest & set(fixed.tolist())) / KEPT,
                }
    return told


def test_every_figure_is_that_of_gradients_kept_and_read_by_hand(request_here: Request, run: dict[str, Any]) -> None:
    expected = by_hand(request_here, run["bases"])
    rows = run["read"]["rows"]
    assert len(rows) == len(expected) == 2 * 6 * 4
    for row in rows:
        told = expected[row["step"], row["space"], row["linear"]]
        where = f"{row['space']} {row['linear']} {row['step']}"
        assert row["energy_share"] == pytest.approx(told["energy_share"], abs=1e-5), where
        assert row["fixed_energy_share"] == pytest.approx(told["fixed_energy_share"], abs=1e-4), where
        # One place of ten may fall to another in single precision, where two are nearly equal.
        assert row["jaccard_step_before"] == pytest.approx(told["jaccard_step_before"], abs=1e-9), where
        assert row["overlap_calibration"] == pytest.approx(told["overlap_calibration"], abs=1e-9), where
        if row["space"] == "none":
            assert row["fixed_in_core_energy_share"] is None and row["core_energy_shares"] is None
        else:
            assert row["fixed_in_core_energy_share"] == pytest.approx(told["fixed_in_core_energy_share"], abs=1e-4)
            assert row["core_energy_shares"] == pytest.approx([told["core_16"], 1.0], abs=1e-5)


def test_the_first_reading_has_none_before_it_and_the_second_has(run: dict[str, Any]) -> None:
    for row in run["read"]["rows"]:
        assert (row["jaccard_reading_before"] is None) == (row["step"] == 2)


def test_where_every_step_is_read_the_reading_before_is_the_step_before(
    request_here: Request, run: dict[str, Any], tmp_path: Path
) -> None:
    """And the figures of the steps that are read otherwise too stay what they are."""
    each = Protocol(steps=STEPS, read_every=1, block=1)
    places = {name: tmp_path / name for name in CALIBRATIONS}
    for name, place in places.items():
        run["bases"][name].save(place)
    measure_supports(request_here, each, places, tmp_path / "supports")
    rows = measure_training(request_here, each, places, tmp_path / "supports")["rows"]
    for row in rows:
        assert row["jaccard_step_before"] == row["jaccard_reading_before"]
        assert (row["jaccard_step_before"] is None) == (row["step"] == 1)
    told = {(row["step"], row["space"], row["linear"]): row["jaccard_step_before"] for row in rows}
    assert all(
        told[row["step"], row["space"], row["linear"]] == row["jaccard_step_before"] for row in run["read"]["rows"]
    )


def test_a_support_holds_most_of_the_energy_it_was_chosen_by(run: dict[str, Any]) -> None:
    """More than places chosen blindly would; and of a later step's energy none holds more than its own largest."""
    shares = {(row["space"], row["linear"]): row["calibration_energy_share"] for row in run["calibrated"]["rows"]}
    assert len(shares) == 6 * 4
    assert all(KEPT / 512 < share <= 1 + 1e-9 for share in shares.values())
    for row in run["read"]["rows"]:
        assert row["fixed_energy_share"] <= row["energy_share"] + 1e-6


def test_pictures_are_of_the_block_and_stripes_also_of_the_first_at_the_last_reading(run: dict[str, Any]) -> None:
    pictures = run["read"]["pictures"]
    stripes = run["read"]["stripe_pictures"]
    roles = ["intermediate.dense", "output.dense"]
    assert [picture["linear"] for picture in pictures] == [f"bert.encoder.layer.1.{role}" for role in roles]
    assert [(one["block"], one["role"]) for one in stripes] == [(block, role) for block in (0, 1) for role in roles]
    for picture in (*pictures, *stripes):
        assert picture["step"] == 4
        drawn = [picture[name] for name in picture if name.startswith(("dw_", "dy_"))]
        assert len(drawn) == 2
        for matrix in drawn:
            assert all(math.isfinite(value) and value >= 0 for line in matrix for value in line)
    assert all(sum(picture["histogram_none"]) == pytest.approx(1) for picture in pictures)


def test_padding_is_what_is_zero(run: dict[str, Any]) -> None:
    for row in run["read"]["dy_rows"]:
        assert row["padding_that_is_zero_share"] == 1
        assert row["zero_row_share"] >= row["padding_share"] > 0
        assert row["rotated_zero_column_share"] == 0
