"""One small compact layer for the tests of its state: what it is made of, trained a little, compared."""

import pytest
import torch
from torch import nn

from sparsegrad.compact import COMPACT_EXECUTIONS, CompactLinear
from sparsegrad.core import Slices

INNER, OUT, ROWS, COLS, KEPT, TOKENS = 12, 20, 4, 5, 9, 200
EXECUTIONS = pytest.mark.parametrize("execution", COMPACT_EXECUTIONS)
PLACES = torch.arange(0, 18, 2, dtype=torch.int32)


def layer_maker(rotation):
    """make(execution): a new layer of the same W, and W."""

    def make(execution, *, dtype=torch.float32, seed=0, turned=False):
        torch.manual_seed(seed)
        linear = nn.Linear(INNER, OUT, dtype=dtype)
        pair = rotation(INNER, OUT)
        u, v = pair.u[:COLS].to(dtype), pair.v[:ROWS].to(dtype)
        made = CompactLinear.from_linear(linear, Slices(-u if turned else u, v), PLACES, execution=execution)
        return made, linear.weight.detach().clone()

    return make


def trained(layer, x, steps=5):
    optimizer = torch.optim.AdamW([layer.values], lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        layer(x.to(layer.weight.dtype)).square().mean().backward()
        optimizer.step()
    return layer


def output(layer, x):
    with torch.no_grad():
        return layer(x).clone()


def assert_near(ours, theirs, tolerance=2e-6):
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
