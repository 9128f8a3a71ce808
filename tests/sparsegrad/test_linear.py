"""The layer's numbers: nn.Linear's output and dx, and of the rotated weight gradient exactly the k largest."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from sparsegrad import SparseGradError, SparseGradLinear
from sparsegrad.executions import EXECUTIONS
from sparsegrad.support import top_k

INNER, OUT, KEPT = 6, 9, 11
SHAPES = {"2-D": (5, INNER), "3-D": (2, 4, INNER), "1-D": (INNER,), "empty": (0, INNER), "empty 3-D": (2, 0, INNER)}


@pytest.fixture
def pair(rotation):
    """pair(...): an nn.Linear and the layer made of it."""

    def make(*, bias=True, sides="both", dtype=torch.float64, kept=KEPT, **options):
        linear = nn.Linear(INNER, OUT, bias=bias, dtype=dtype)
        rotated = rotation(INNER, OUT, sides=sides, dtype=dtype)
        return linear, SparseGradLinear.from_linear(linear, rotated, kept=kept, **options)

    return make


def oracle(linear, rotation, x, g):
    """dW~ = V (g^T x) U^T, dense, from the formula."""
    rows = (g.reshape(-1, OUT).T @ x.reshape(-1, INNER)).to(linear.weight.dtype)
    rows = rows if rotation.v is None else rotation.v @ rows
    return rows if rotation.u is None else rows @ rotation.u.T


def some(shape, dtype=torch.float64, *, zero_rows=True):
    """An input and an output gradient, some of whose rows are exactly zero."""
    x, g = torch.randn(shape, dtype=dtype), torch.randn(*shape[:-1], OUT, dtype=dtype)
    if zero_rows and g.dim() > 1:
        g[..., 1::2, :] = 0
    return x, g


@pytest.mark.parametrize("execution", list(EXECUTIONS))
@pytest.mark.parametrize("sides", ["both", "in", "out", "none"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", list(SHAPES.values()), ids=list(SHAPES))
def test_output_and_gradients_are_the_formulas(pair, execution, sides, bias, shape):
    linear, layer = pair(bias=bias, sides=sides, execution=execution)
    x, g = some(shape)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = layer(ours), linear(theirs)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-10)
    y.backward(g)
    expected.backward(g)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-10)
    if bias:
        torch.testing.assert_close(layer.bias.grad, linear.bias.grad, rtol=0, atol=1e-10)
    grad = layer.weight.grad
    assert grad.is_sparse and grad.is_coalesced() and grad._nnz() == KEPT
    again = torch.sparse_coo_tensor(grad.indices(), grad.values(), grad.shape, check_invariants=True).coalesce()
    assert torch.equal(again.indices(), grad.indices())
    wanted = top_k(oracle(linear, layer.rotation, x, g), KEPT)
    torch.testing.assert_close(grad.to_dense(), wanted.to_dense(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("execution", list(EXECUTIONS))
def test_in_fp32_it_is_the_linear_to_1e_5(pair, execution):
    linear, layer = pair(dtype=torch.float32, execution=execution)
    x, g = some((4, 7, INNER), torch.float32)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    layer(ours).backward(g)
    linear(theirs).backward(g)
    torch.testing.assert_close(layer(x), linear(x), rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-5)


@pytest.mark.parametrize("execution", ["sd", "regular"])
@pytest.mark.parametrize("sides", ["both", "none"])
def test_gradcheck_where_every_entry_is_kept(pair, execution, sides):
    _, layer = pair(sides=sides, kept=1.0, execution=execution)
    x = torch.randn(2, 3, INNER, dtype=torch.float64, requires_grad=True)

    def function(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    assert gradcheck(function, (x, *layer.parameters()), check_undefined_grad=False)
    layer(x).sum().backward()
    assert not layer.weight.grad.is_sparse


def test_merging_undoes_the_rotation(pair):
    linear, layer = pair()
    torch.testing.assert_close(layer.merged_weight(), linear.weight.detach(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("fill", [0.0, 1.0, -2.0])
def test_ties_and_zeros_still_give_exactly_k(pair, fill):
    _, layer = pair(sides="none")
    layer(torch.ones(3, INNER, dtype=torch.float64)).backward(torch.full((3, OUT), fill, dtype=torch.float64))
    assert layer.weight.grad._nnz() == KEPT
    assert layer.weight.grad.values().tolist() == [3 * fill] * KEPT


def test_k_beyond_the_nonzeros(pair):
    _, layer = pair(sides="none", kept=20)
    x, g = torch.zeros(2, INNER, dtype=torch.float64), torch.zeros(2, OUT, dtype=torch.float64)
    x[0, 2], g[0, 3] = 2, 5
    layer(x).backward(g)
    assert layer.weight.grad._nnz() == 20
    assert layer.weight.grad.to_dense().nonzero().tolist() == [[3, 2]] and layer.weight.grad.to_dense().sum() == 10


def test_non_contiguous_input_and_gradient(pair):
    linear, layer = pair()
    x = torch.randn(INNER, 4, 3, dtype=torch.float64).permute(2, 1, 0).requires_grad_()
    g = torch.randn(OUT, 4, 3, dtype=torch.float64).permute(2, 1, 0)
    (ours,) = torch.autograd.grad(layer(x), x, g)
    (theirs,) = torch.autograd.grad(linear(x), x, g)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    layer(x).sum().backward()  # an expanded gradient: strides of zero
    ones = torch.ones(3, 4, OUT, dtype=torch.float64)
    wanted = top_k(oracle(linear, layer.rotation, x.detach(), ones), KEPT).to_dense()
    torch.testing.assert_close(layer.weight.grad.to_dense(), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("execution", list(EXECUTIONS))
def test_autocast_is_as_nn_linear_under_autocast(pair, half, execution):
    linear, layer = pair(dtype=torch.float32, execution=execution)
    x, g = some((4, 3, INNER), torch.float32)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    with torch.autocast("cpu", dtype=half):
        y, expected = layer(ours), linear(theirs)
    assert y.dtype == expected.dtype == half
    y.backward(g.to(half))
    expected.backward(g.to(half))
    assert ours.grad.dtype == layer.weight.grad.dtype == layer.bias.grad.dtype == torch.float32
    tolerance = 16 * torch.finfo(half).eps
    torch.testing.assert_close(y, expected, rtol=0, atol=tolerance)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=4 * tolerance)
    dense = oracle(linear, layer.rotation, x, g)
    rows, cols = layer.weight.grad.indices()
    assert len(rows) == KEPT
    torch.testing.assert_close(layer.weight.grad.values(), dense[rows, cols], rtol=0, atol=8 * tolerance)


@pytest.mark.parametrize("accumulate", [True, False])
def test_used_twice_in_one_forward_selects_from_the_sum(pair, accumulate):
    linear, layer = pair(accumulate=accumulate)
    (x, g), (z, h) = some((5, INNER)), some((3, INNER))
    ((layer(x) * g).sum() + (layer(z) * h).sum()).backward()
    dense = oracle(linear, layer.rotation, x, g) + oracle(linear, layer.rotation, z, h)
    torch.testing.assert_close(layer.weight.grad.to_dense(), top_k(dense, KEPT).to_dense(), rtol=0, atol=1e-10)


def test_autograd_grad_gives_the_dense_gradient_and_leaves_grad_alone(pair):
    linear, layer = pair()
    x, g = some((5, INNER))
    layer(x).backward(g)
    before = layer.weight.grad
    (dense,) = torch.autograd.grad(layer(x), layer.weight, g)
    torch.testing.assert_close(dense, oracle(linear, layer.rotation, x, g), rtol=0, atol=1e-10)
    assert layer.weight.grad is before
    layer.zero_grad()
    layer(x).backward(g)
    torch.testing.assert_close(layer.weight.grad.to_dense(), before.to_dense(), rtol=0, atol=0)


def test_bad_requests_are_told(pair, rotation):
    linear = nn.Linear(INNER, OUT)
    make: Any = SparseGradLinear.from_linear
    for call, told in (
        (lambda: make(nn.LayerNorm(3), name="norm"), "norm is a LayerNorm"),
        (lambda: make(linear, execution="fast"), "execution='fast'"),
        (lambda: make(linear, execution="merged"), "execution='merged'"),  # of fixed support
        (lambda: make(linear, kept=55, name="mlp.up"), "kept=55 entries of mlp.up, which has 54"),
        (lambda: make(linear, rotation(OUT, INNER, dtype=torch.float32)), r"in basis \(6, 6\); given \(9, 9\)"),
    ):
        with pytest.raises(SparseGradError, match=told):
            call()
    with pytest.raises(RuntimeError):
        pair()[1](torch.randn(3, INNER + 1, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_an_input_that_is_not_floating_is_told(pair, dtype):
    """Computing in integers would turn the weights into zeros."""
    with pytest.raises((RuntimeError, ValueError)):
        pair()[1](torch.ones(2, INNER, dtype=dtype))
