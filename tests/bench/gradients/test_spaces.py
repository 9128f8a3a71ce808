"""Every space looks at the same energy, through the bases that it says."""

from __future__ import annotations

import pytest
import torch

from bench.gradients.spaces import CALIBRATIONS, SPACES, rotations
from sparsegrad import calibrate
from sparsegrad.roles import find_targets
from tests.bench.small_models import make


@pytest.fixture(scope="module")
def spaces(speed_model):
    workload = make(model=str(speed_model), random_weights=True, calibration_steps=2)
    model = workload.build().double()
    targets = find_targets(model)
    bases = {name: calibrate(model, workload.calibration_batches, 2, **how) for name, how in CALIBRATIONS.items()}
    return targets, bases, {name: rotations(space, bases, targets) for name, space in SPACES.items()}


def test_each_space_is_v_g_u_of_its_bases_and_keeps_the_norm(spaces) -> None:
    targets, bases, of = spaces
    for target in targets:
        g = torch.randn(target.weight.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        shared, normalised = bases["shared"].table[target.role], bases["normalised"].table[target.role]
        own = bases["per-block"].table[target.name]
        by_hand = {
            "none": g,
            "in": g @ shared.u.T,
            "out": shared.v @ g,
            "shared": shared.v @ g @ shared.u.T,
            "normalised": normalised.v @ g @ normalised.u.T,
            "per-block": own.v @ g @ own.u.T,
        }
        assert list(by_hand) == list(of)
        for name, expected in by_hand.items():
            seen = of[name][target.name].rotate(g)
            torch.testing.assert_close(seen, expected, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(seen.norm(), g.norm(), rtol=1e-12, atol=0)


def test_blocks_share_a_pair_or_have_their_own(spaces) -> None:
    targets, _, of = spaces
    first, second = [target.name for target in targets if target.role == targets[0].role][:2]
    assert of["shared"][first] is of["shared"][second]
    assert not torch.equal(of["per-block"][first].u, of["per-block"][second].u)
