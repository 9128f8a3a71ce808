"""One compact layer whose values are not zero, what goes through it forward and backward, and its formula."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsegrad.compact import CompactLinear
from sparsegrad.core import Slices

INNER, OUT, ROWS, COLS, KEPT = 5, 7, 4, 3, 6
PLACES = torch.tensor([0, 2, 5, 6, 10, 11], dtype=torch.int32)


def layer_maker(rotation):
    """make(execution, ...): a layer whose values are not zero any more, and the linear it was made from."""

    def make(execution="planned", *, bias=True, conv1d=False, dtype=torch.float64):
        pair = rotation(INNER, OUT, dtype=dtype)
        linear: nn.Module = nn.Linear(INNER, OUT, bias=bias, dtype=dtype)
        if conv1d:
            from transformers.pytorch_utils import Conv1D

            linear = Conv1D(OUT, INNER).to(dtype)
        slices = Slices(pair.u[:COLS].clone(), pair.v[:ROWS].clone())
        made = CompactLinear.from_linear(copy.deepcopy(linear), slices, PLACES, execution=execution)
        with torch.no_grad():
            made.values.copy_(torch.randn(KEPT))
        return made, linear

    return make


def dense(linear, layer, x, values):
    """The formula, from the first linear's W and the definition of S."""
    w_OI = linear.weight if isinstance(linear, nn.Linear) else linear.weight.T
    core = torch.zeros(ROWS * COLS, dtype=values.dtype).index_put((PLACES.long(),), values).view(ROWS, COLS)
    return functional.linear(x, w_OI.detach() + layer.slices.v.T @ core @ layer.slices.u, linear.bias)


def inputs(shape=(6,), *, dtype=torch.float64, zero_rows=True) -> tuple[Tensor, Tensor]:
    x, g = torch.randn(*shape, INNER, dtype=dtype, requires_grad=True), torch.randn(*shape, OUT, dtype=dtype)
    if zero_rows:
        g.view(-1, OUT)[1::2] = 0
    return x, g
