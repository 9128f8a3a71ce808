"""One compact layer against the dense formula y = x (W + V_R^T S U_C)^T + b in autograd's own operations."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from sparsegrad import BasesMismatch, SparseGradError
from sparsegrad.compact import COMPACT_EXECUTIONS, CompactLinear
from sparsegrad.core import Slices
from tests.sparsegrad.compact_case import EXECUTIONS
from tests.sparsegrad.compact_step import COLS, INNER, KEPT, OUT, PLACES, ROWS, dense, inputs, layer_maker


@pytest.fixture
def layer(rotation):
    """layer(execution, ...): a layer whose values are not zero any more, and the linear it was made from."""
    return layer_maker(rotation)


@EXECUTIONS
@pytest.mark.parametrize("zero_rows", [False, True])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"conv1d": True}], ids=str)
@pytest.mark.parametrize("shape", [(6,), (2, 3), ()], ids=str)
def test_output_and_gradients_are_the_formulas(layer, execution, options, zero_rows, shape):
    layer, linear = layer(execution, **options)
    x, g = inputs(shape, zero_rows=zero_rows)
    values = layer.values.detach().clone().requires_grad_()
    for _ in range(2):  # the second forward finds the values unchanged
        layer.zero_grad()
        ours, theirs = layer(x), dense(linear, layer, x, values)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
        dx, dvalues = torch.autograd.grad(theirs, (x, values), g)
        x.grad = None
        ours.backward(g)
        torch.testing.assert_close(x.grad, dx, rtol=0, atol=1e-12)
        torch.testing.assert_close(layer.values.grad, dvalues, rtol=0, atol=1e-12)
        assert layer.values.grad.layout is torch.strided and layer.values.grad.shape == (KEPT,)
        assert [name for name, p in layer.named_parameters() if p.requires_grad] == ["values"]
        assert all(p.grad is None for p in (layer.weight, layer.bias) if p is not None)


@EXECUTIONS
@pytest.mark.parametrize("zero_rows", [False, True])
def test_gradcheck(layer, execution, zero_rows):
    """Each call on a copy: a merged weight must not be rewritten between a forward and its backward."""
    layer, _ = layer(execution)
    x, g = inputs((2, 3), zero_rows=zero_rows)

    def output(x, values):
        return functional_call(copy.deepcopy(layer), {"values": values}, (x,)) * g.ne(0)

    assert torch.autograd.gradcheck(output, (x, layer.values.detach().clone().requires_grad_()))


def test_no_active_token_and_no_token_at_all(layer):
    for execution in COMPACT_EXECUTIONS:
        made, _ = layer(execution)
        for count in (3, 0):
            x, g = inputs((count,))
            made.zero_grad()
            made(x).backward(g.zero_())
            assert torch.equal(made.values.grad, torch.zeros(KEPT, dtype=torch.float64))
            assert x.grad is not None and not x.grad.any()


@EXECUTIONS
@pytest.mark.parametrize("needs", [(True, True), (False, True), (True, False), (False, False)], ids=str)
def test_only_what_is_asked_for_gets_a_gradient(layer, execution, needs):
    layer, linear = layer(execution)
    x, g = inputs()
    values = layer.values.detach().clone().requires_grad_()
    dx, dvalues = torch.autograd.grad(dense(linear, layer, x, values), (x, values), g)
    x.requires_grad_(needs[0])
    layer.values.requires_grad_(needs[1])
    y = layer(x)
    assert y.requires_grad == any(needs)
    if any(needs):
        y.backward(g)
    for given, wanted, asked in ((x.grad, dx, needs[0]), (layer.values.grad, dvalues, needs[1])):
        assert (given is None) == (not asked)
        if asked:
            torch.testing.assert_close(given, wanted, rtol=0, atol=1e-12)


def test_merged_is_bit_for_bit_the_linear_with_the_written_weight(layer):
    layer, linear = layer("merged", dtype=torch.float32)
    x = torch.randn(2, 3, INNER)
    y = layer(x)
    assert torch.equal(y, functional.linear(x, layer.weight, layer.bias))
    update = layer.slices.v.T @ layer.core() @ layer.slices.u
    torch.testing.assert_close(layer.weight - linear.weight, update, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(layer.base_weight(), linear.weight, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(layer.merged_weight(), linear.weight + update, rtol=1e-6, atol=1e-6)


def test_additive_never_touches_the_weight(layer):
    layer, linear = layer("additive")
    x, g = inputs()
    layer(x).backward(g)
    assert torch.equal(layer.weight, linear.weight)


def test_a_value_changed_by_any_road_is_seen(layer):
    for execution in COMPACT_EXECUTIONS:
        made, linear = layer(execution)
        x = torch.randn(40, INNER, dtype=torch.float64)
        made(x)
        made.values.data.mul_(2)
        torch.testing.assert_close(made(x), dense(linear, made, x, made.values), rtol=0, atol=1e-12)
        made.values.data = torch.randn(KEPT, dtype=torch.float64)
        torch.testing.assert_close(made(x), dense(linear, made, x, made.values), rtol=0, atol=1e-12)
        made.values.data.zero_()
        torch.testing.assert_close(made(x), linear(x), rtol=0, atol=1e-12)


@EXECUTIONS
def test_a_backward_after_the_values_moved_on_is_right_or_refused(layer, execution):
    """As for any linear whose weight was stepped between its forward and its backward: never a wrong dx."""
    layer, linear = layer(execution)
    x, g = inputs((40,))
    values = layer.values.detach().clone().requires_grad_()
    wanted = torch.autograd.grad(dense(linear, layer, x, values), (x, values), g)
    first = layer(x)
    layer.values.data.add_(1)
    layer(x)
    try:
        given = torch.autograd.grad(first, (x, layer.values), g)
    except RuntimeError as refused:
        assert "modified" in str(refused)
    else:
        for ours, theirs in zip(given, wanted, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_merged_in_half_precision_is_told_and_planned_adds(layer, dtype):
    with pytest.raises(SparseGradError, match=f"'merged'.*{dtype}.*'additive'"):
        layer("merged", dtype=dtype)
    half, linear = layer("planned", dtype=dtype)
    assert half.values.dtype == torch.float32
    x = torch.randn(200, INNER, dtype=dtype)
    assert half(x).dtype == dtype
    assert torch.equal(half.weight, linear.weight)


def test_bad_layers_are_told():
    u, v, linear = torch.eye(COLS, INNER), torch.eye(ROWS, OUT), nn.Linear(INNER, OUT)
    with pytest.raises(BasesMismatch):
        CompactLinear.from_linear(linear, Slices(torch.eye(COLS, INNER + 1), v), PLACES)
    with pytest.raises(BasesMismatch):
        CompactLinear.from_linear(linear, Slices(u, torch.eye(ROWS, OUT + 1)), PLACES)
    with pytest.raises(SparseGradError, match=r"'fast'.*planned.*additive.*merged"):
        CompactLinear.from_linear(linear, Slices(u, v), PLACES, execution="fast")  # type: ignore[arg-type]
    with pytest.raises(SparseGradError, match="Embedding"):
        CompactLinear.from_linear(nn.Embedding(3, 4), Slices(u, v), PLACES)
