"""The stripes of dL/dY: rows survive V, columns do not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.gradients.pictures import patches
from bench.gradients.stripes import Watch, mask_of, stripes
from sparsegrad import Rotation
from sparsegrad.roles import find_targets
from tests.bench.small_models import make


def planted() -> torch.Tensor:
    """Ten tokens of six outputs: 4 to 9 are zero, and so is output 2."""
    g = torch.randn(10, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    g[4:] = 0
    g[:, 2] = 0
    return g


def turn() -> Rotation:
    v = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).Q
    return Rotation(None, v)


def test_rows_stay_zero_and_columns_do_not() -> None:
    mask = torch.tensor([1] * 5 + [0] * 5)
    read = stripes(planted(), turn(), mask)
    assert read.zero_row_share == 0.6
    assert read.nonzero_share == pytest.approx(4 * 5 / 60)
    assert read.zero_column_share == pytest.approx(1 / 6)
    assert read.rotated_nonzero_share == pytest.approx(4 * 6 / 60)
    assert read.rotated_zero_column_share == 0
    assert read.padding_share == 0.5
    assert read.zero_rows_that_are_padding_share == pytest.approx(5 / 6)
    assert read.padding_that_is_zero_share == 1


def test_it_is_v_that_turns_the_columns_and_not_its_transpose() -> None:
    """Of V's first column two entries are not zero, of its first row all three."""
    c = s = 0.5**0.5
    v = torch.tensor([[c, s * c, s * s], [-s, c * c, c * s], [0, -s, c]], dtype=torch.float64)
    torch.testing.assert_close(v @ v.T, torch.eye(3, dtype=torch.float64))
    g = torch.tensor([[1.0, 0, 0]], dtype=torch.float64)
    assert stripes(g, Rotation(None, v), None).rotated_zero_column_share == pytest.approx(1 / 3)


def test_what_cannot_be_told_is_none() -> None:
    g = planted()
    assert stripes(g, Rotation(), None).padding_share is None
    assert stripes(g, Rotation(), torch.ones(7)).padding_share is None
    none_zero = stripes(g[:4] + 1, Rotation(), torch.ones(4))
    assert none_zero.zero_rows_that_are_padding_share is None
    assert none_zero.padding_that_is_zero_share is None


def test_a_watch_sees_each_gradient_once_and_leaves_nothing(speed_model) -> None:
    workload = make(model=str(speed_model), random_weights=True)
    model, batch = workload.build(), workload.batches[0]
    targets = find_targets(model)
    seen: dict[str, torch.Tensor] = {}
    with Watch(targets, lambda target, g: seen.__setitem__(target.name, g.clone())):
        model(**batch).loss.backward()
    assert list(seen) == [target.name for target in reversed(targets)]
    for target in targets:
        module = target.module
        assert isinstance(module, nn.Linear) and module.bias.grad is not None
        torch.testing.assert_close(seen[target.name].sum(0), module.bias.grad)
        assert not module._forward_hooks
    mask = mask_of(batch)
    assert mask is not None
    read = stripes(seen[targets[0].name], Rotation(), mask)
    assert read.padding_that_is_zero_share == 1  # padding sends nothing back, exactly


def test_patches_keep_the_largest_and_what_is_zero() -> None:
    g = torch.zeros(100, 90)
    g[50, 89] = -3.14159
    small = patches(g, (10, 9))
    assert (len(small), len(small[0])) == (10, 9)
    assert small[5][8] == 3.14
    assert sum(value != 0 for row in small for value in row) == 1
    assert len(patches(g[:4, :3], (10, 9))) == 4
