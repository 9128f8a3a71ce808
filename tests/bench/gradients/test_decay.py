"""Spectra against a decomposition of the stacked tensor itself."""

from __future__ import annotations

from itertools import islice

import pytest
import torch

from bench.gradients.decay import decay, falling, ranks_of
from bench.gradients.spaces import CALIBRATIONS
from sparsegrad import calibrate
from sparsegrad.roles import find_targets
from tests.bench.small_models import make

STEPS = 3


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_singular_values_are_those_of_the_stacked_unfoldings(name: str, speed_model) -> None:
    workload = make(model=str(speed_model), random_weights=True, calibration_steps=STEPS)
    model = workload.build().double()
    bases = calibrate(model, workload.calibration_batches, STEPS, **CALIBRATIONS[name])
    stacks: dict[str, list[torch.Tensor]] = {}
    for batch in islice(workload.calibration_batches, STEPS):
        model.zero_grad()
        model(**batch).loss.backward()
        for target in find_targets(model):
            g = target.weight.grad
            assert g is not None
            key = target.name if CALIBRATIONS[name]["basis"] == "per-block" else target.role
            stacks.setdefault(key, []).append(g / g.norm() if CALIBRATIONS[name]["normalise"] else g.clone())
    for key, told in decay(bases).items():
        for mode, unfolded in (("out", torch.cat(stacks[key], 1)), ("in", torch.cat(stacks[key], 0).T)):
            singular = torch.linalg.svdvals(unfolded)
            at = [rank - 1 for rank in told[mode]["ranks"]]
            # Squared in a Gram matrix: to half of the digits.
            assert told[mode]["relative"] == pytest.approx((singular[at] / singular[0]).tolist(), abs=1e-7)
            held = singular.square().cumsum(0) / singular.square().sum()
            assert told[mode]["rank_90"] == int((held < 0.9).sum()) + 1


def test_ranks_go_from_one_to_all() -> None:
    assert ranks_of(1) == [1]
    for size in (5, 384, 11_008):
        ranks = ranks_of(size)
        assert (ranks[0], ranks[-1]) == (1, size)
        assert ranks == sorted(set(ranks)) and len(ranks) <= 48


def test_no_energy_is_no_spectrum() -> None:
    told = falling(torch.zeros(4))
    assert (told["relative"], told["rank_90"]) == (None, None)
