"""Every way trains the same layer: one step of each against the paper's formulas in double precision."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from bench.crossover.grid import SEQUENCE, Cell
from bench.crossover.torch_sparse import TorchSparseLinear
from bench.crossover.ways import ALL_ENTRIES, ALL_ROWS, DENSE, WAYS, OneLayer, Problem, energy_share, problem, ways
from sparsegrad.compact import CompactLinear
from sparsegrad.core import default_core
from sparsegrad.linear import SparseGradLinear

OUT, INNER, KEPT = 24, 16, 30
CELL = Cell(
    out=OUT,
    inner=INNER,
    tokens=2 * SEQUENCE,
    active=0.25,
    kept=KEPT,
    decay=0.5,
    dtype="fp32",
    device="cpu",
    seed=3,
    rounds=2,
    steps=1,
    warmup=1,
)
EXACT = ("regular", "sd", "planned", "torch-csr", "torch-coo")


@pytest.fixture
def made() -> Problem:
    return problem(CELL)


def layer_of(made: Problem, way: str) -> nn.Module:
    model = dict(ways(made))[way]().model
    assert isinstance(model, OneLayer)
    return model.layer


def backward(made: Problem, way: str) -> tuple[nn.Module, Tensor]:
    """The layer after a backward of the problem's g, and dL/dx."""
    layer, x = layer_of(made, way), made.x.clone().requires_grad_()
    layer(x).backward(made.g)
    assert x.grad is not None
    return layer, x.grad


def rotated(made: Problem) -> Tensor:
    """dW~ = V g^T x U^T, double precision."""
    u, v, g, x = (tensor.double() for tensor in (made.u_II, made.v_OO, made.g, made.x))
    return v @ (g.T @ x) @ u.T


def test_all_ways_are_there(made: Problem) -> None:
    assert tuple(dict(ways(made))) == (*WAYS, ALL_ROWS, ALL_ENTRIES)


@pytest.mark.parametrize("way", WAYS)
def test_forward_and_input_gradient_are_the_dense_layers(way: str, made: Problem) -> None:
    weight, bias = (p.detach().double() for p in (made.linear.weight, made.linear.bias))
    layer, dx = backward(made, way)
    torch.testing.assert_close(layer(made.x).double(), made.x.double() @ weight.T + bias, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(dx.double(), made.g.double() @ weight, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("way", EXACT)
def test_the_gradient_is_the_top_k_of_the_rotated_one(way: str, made: Problem) -> None:
    layer, _ = backward(made, way)
    assert isinstance(layer, SparseGradLinear) and layer.weight.grad is not None and layer.weight.grad.is_sparse
    assert isinstance(layer, TorchSparseLinear) == way.startswith("torch")
    dense = rotated(made)
    kept = torch.zeros_like(dense).flatten()
    at = dense.abs().flatten().argsort(descending=True)[:KEPT]
    kept[at] = dense.flatten()[at]
    torch.testing.assert_close(layer.weight.grad.to_dense().double(), kept.view(OUT, INNER), rtol=1e-4, atol=1e-4)
    assert layer.bias is not None and layer.bias.grad is not None
    torch.testing.assert_close(layer.bias.grad.double(), made.g.double().sum(0), rtol=1e-4, atol=1e-4)


def test_compact_trains_places_of_the_core(made: Problem) -> None:
    layer, _ = backward(made, "compact")
    assert isinstance(layer, CompactLinear) and layer.values.grad is not None
    rows, cols = default_core(KEPT, OUT, INNER)
    at = rotated(made)[:rows, :cols].flatten()[layer.places.long()]
    torch.testing.assert_close(layer.values.grad.double(), at, rtol=1e-4, atol=1e-4)


def test_every_entry_is_a_dense_gradient(made: Problem) -> None:
    layer, _ = backward(made, ALL_ENTRIES)
    assert isinstance(layer, SparseGradLinear) and layer.weight.grad is not None and not layer.weight.grad.is_sparse
    torch.testing.assert_close(layer.weight.grad.double(), rotated(made), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("active", "rows"), [(0.25, 32), (1.0, SEQUENCE), (0.3, 38)])
def test_zero_rows_are_those_of_padding(active: float, rows: int) -> None:
    made = problem(replace(CELL, active=active))
    nonzero = (made.g != 0).any(dim=1).view(2, SEQUENCE)
    assert nonzero[:, :rows].all() and not nonzero[:, rows:].any()
    assert (made.whole != 0).any(dim=1).all() and torch.equal(made.batch()["attention_mask"], nonzero.flatten())


def test_only_all_rows_is_given_the_whole_gradient(made: Problem) -> None:
    """Through the model that the train step calls: its loss carries g back, or the whole without zero rows."""
    batch = made.batch()
    for way, upstream in ((DENSE, made.g), (ALL_ROWS, made.whole)):
        prepared = dict(ways(made))[way]()
        prepared.model(**batch).loss.backward()
        assert isinstance(prepared.model, OneLayer)
        bias = prepared.model.layer.bias
        assert isinstance(bias, nn.Parameter) and bias.grad is not None
        torch.testing.assert_close(bias.grad, upstream.sum(0), rtol=1e-5, atol=1e-5)


def test_equal_cells_give_equal_numbers_and_bases_are_orthogonal(made: Problem) -> None:
    again, other = problem(CELL), problem(replace(CELL, seed=4))
    assert torch.equal(made.x, again.x) and torch.equal(made.g, again.g) and not torch.equal(made.x, other.x)
    for basis in (made.u_II, made.v_OO):
        torch.testing.assert_close(basis @ basis.T, torch.eye(len(basis)), rtol=0, atol=1e-5)


def test_energy_share_is_that_of_the_largest_entries(made: Problem) -> None:
    squares = rotated(made).square().flatten().sort(descending=True).values
    assert energy_share(made) == pytest.approx(float(squares[:KEPT].sum() / squares.sum()), rel=1e-5)
    flat, steep = (energy_share(problem(replace(CELL, decay=decay))) for decay in (0.0, 1.0))
    assert flat < energy_share(made) < steep
