"""A compact layer and its formula y = x (W + V_R^T S U_C)^T + b in autograd's own operations, ``values`` training."""

import torch
from torch import nn

from sparsegrad.compact import CompactLinear
from sparsegrad.core import Slices

SIDE, ROWS, COLS, KEPT = 10, 4, 5, 8
PLACES = torch.tensor([0, 1, 4, 7, 11, 13, 16, 19], dtype=torch.int32)


class Dense(nn.Module):
    """The formula, ``values`` its one trainable tensor."""

    def __init__(self, layer: CompactLinear) -> None:
        super().__init__()
        self.weight, self.bias = layer.base_weight().clone(), layer.state_dict()["bias"].clone()
        self.u, self.v = layer.slices.u.clone(), layer.slices.v.clone()
        self.values = nn.Parameter(layer.values.detach().clone())

    def forward(self, x):
        core = torch.zeros(ROWS * COLS, dtype=self.values.dtype).index_put((PLACES.long(),), self.values)
        return nn.functional.linear(x, self.weight + self.v.T @ core.view(ROWS, COLS) @ self.u, self.bias)


def pair_maker(rotation):
    """make(execution): a square layer and the dense formula with the same values."""

    def make(execution, dtype=torch.float64):
        bases = rotation(SIDE, SIDE, dtype=dtype)
        slices = Slices(bases.u[:COLS].clone(), bases.v[:ROWS].clone())
        layer = CompactLinear.from_linear(nn.Linear(SIDE, SIDE, dtype=dtype), slices, PLACES, execution=execution)
        return layer, Dense(layer)

    return make


def inputs(count=4, dtype=torch.float64):
    return [torch.randn(30, SIDE, dtype=dtype) for _ in range(count)]


def loss_of(model, x):
    return (model(x) - 1).square().mean()
