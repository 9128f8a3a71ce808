"""How energy is spread, against a brute force in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.gradients.energy import BINS, KEPT_SHARES, concentration, core_shares, held_share, histogram


def matrix(seed: int = 0, shape: tuple[int, int] = (40, 60)) -> Tensor:
    """Heavy-tailed, with a few zeros."""
    made = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 5
    made[3] = 0
    made[:, 7] = 0
    return made


def falling(g: Tensor) -> np.ndarray:
    squares: np.ndarray = np.sort(g.numpy().ravel() ** 2)[::-1]
    return squares


@pytest.mark.parametrize("kept", [1, 24, 2400])
def test_the_largest_entries_hold_what_a_sort_by_hand_says(kept: int) -> None:
    g = matrix()
    squares = falling(g)
    read = concentration(g, kept)
    assert read.energy_share == pytest.approx(squares[:kept].sum() / squares.sum(), rel=1e-12)
    by_hand = [squares[: max(1, round(share * 2400))].sum() / squares.sum() for share in KEPT_SHARES]
    assert read.curve == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize(("share", "name"), [(0.9, "significant_90_share"), (0.99, "significant_99_share")])
def test_the_fewest_entries_reach_the_share_and_one_less_does_not(share: float, name: str) -> None:
    g = matrix(1)
    squares = falling(g)
    count = round(getattr(concentration(g, 1), name) * g.numel())
    assert squares[:count].sum() >= share * squares.sum() > squares[: count - 1].sum()


def test_flatness_is_one_of_equal_entries_and_1_over_n_of_one_and_does_not_vanish_with_scale() -> None:
    one = torch.zeros(8, 5, dtype=torch.float64)
    one[2, 3] = -4.0
    assert concentration(one, 1).flatness == pytest.approx(1 / 40)
    assert concentration(torch.full((8, 5), -0.1), 1).flatness == pytest.approx(1.0)
    g = matrix(2)
    squares = falling(g)
    by_hand = squares.sum() ** 2 / (2400 * (squares**2).sum())
    assert concentration(g, 1).flatness == pytest.approx(by_hand, rel=1e-12)
    assert concentration(g.float() * 1e-15, 1).flatness == pytest.approx(by_hand, rel=1e-4)


def test_zeros_are_counted_exactly() -> None:
    read = concentration(matrix(), 1)
    assert read.zero_row_share == 1 / 40
    assert read.zero_column_share == 1 / 60
    assert read.nonzero_share == pytest.approx(39 * 59 / 2400)


def test_without_energy_nothing_is_shared() -> None:
    nothing = torch.zeros(6, 4)
    read = concentration(nothing, 2)
    assert (read.energy_share, read.curve, read.significant_90_share, read.flatness) == (None, None, None, None)
    assert (read.nonzero_share, read.zero_row_share) == (0, 1)
    assert held_share(nothing, torch.tensor([1])) is None
    assert core_shares(nothing, [(2, 2)]) is None
    assert histogram(nothing) is None


def test_places_and_cores_hold_what_a_mask_says() -> None:
    g = matrix(3)
    squares = g.numpy() ** 2
    places = torch.tensor([0, 61, 1000, 2399])
    assert held_share(g, places) == pytest.approx(squares.ravel()[places.numpy()].sum() / squares.sum(), rel=1e-12)
    cores = [(1, 1), (16, 16), (40, 50), (40, 60)]
    by_hand = [squares[:rows, :cols].sum() / squares.sum() for rows, cols in cores]
    assert core_shares(g, cores) == pytest.approx(by_hand, rel=1e-12)
    assert by_hand[-1] == 1


def test_the_histogram_counts_every_entry_once_in_its_half_decade() -> None:
    g = matrix(4)
    logs = np.log10(np.abs(g.numpy().ravel()) + 1e-300) - np.log10(np.sqrt((g.numpy() ** 2).mean()))
    counts, _ = np.histogram(np.clip(logs, BINS[0] + 1e-9, BINS[-1] - 1e-9), bins=np.array(BINS))
    assert histogram(g) == pytest.approx(counts / 2400, abs=1e-12)


def test_half_precision_is_read_in_single() -> None:
    g = matrix(5).to(torch.bfloat16)
    assert concentration(g, 24).energy_share == pytest.approx(concentration(g.double(), 24).energy_share, rel=1e-6)
