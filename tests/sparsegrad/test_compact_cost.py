"""What a compact layer keeps for backward and what it multiplies: x U_C^T, and the active rows alone."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from sparsegrad.compact import COMPACT_EXECUTIONS, CompactLinear
from sparsegrad.core import Slices

INNER, OUT, ROWS, COLS, KEPT = 5, 7, 4, 3, 6
PLACES = torch.tensor([0, 2, 5, 6, 10, 11], dtype=torch.int32)
EXECUTIONS = pytest.mark.parametrize("execution", COMPACT_EXECUTIONS)


@pytest.fixture
def layer(rotation):
    """layer(execution, ...): a layer whose values are not zero any more, and the linear it was made from."""

    def make(execution="planned", *, dtype=torch.float64):
        pair = rotation(INNER, OUT, dtype=dtype)
        linear = nn.Linear(INNER, OUT, dtype=dtype)
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


def held_for_backward(layer, x) -> list[Tensor]:
    """What the graph of layer(x) keeps alive: saved tensors and attributes of Python nodes, parameters left out."""
    held: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        held.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        nodes = [layer(x).grad_fn]
        while nodes:
            node = nodes.pop()
            nodes += [below for below, _ in node.next_functions if below is not None]
            for value in vars(node).values() if hasattr(node, "__dict__") else ():
                if isinstance(value, Tensor):
                    keep(value)
    # After the forward, which may have given the weight new data.
    own = {t.untyped_storage().data_ptr() for t in (*layer.parameters(), *layer.buffers())}
    return [tensor for place, tensor in held.items() if place not in own]


@EXECUTIONS
@pytest.mark.parametrize("inner_requires_grad", [True, False])
def test_saved_for_backward_is_the_projected_input_alone(execution, inner_requires_grad):
    tokens, inner, out, rows, cols = 96, 40, 48, 6, 5
    slices = Slices(torch.eye(cols, inner), torch.eye(rows, out))
    linear = nn.Linear(inner, out)
    layer = CompactLinear.from_linear(linear, slices, torch.arange(0, 30, 3, dtype=torch.int32), execution=execution)
    torch.nn.init.normal_(layer.values)
    x = torch.randn(2, tokens // 2, inner, requires_grad=inner_requires_grad)
    held = held_for_backward(layer, x)
    projected = [t for t in held if t.untyped_storage().nbytes() == 4 * tokens * cols]
    assert len(projected) == 1
    torch.testing.assert_close(projected[0].reshape(tokens, cols), x.detach().reshape(tokens, inner)[:, :cols])
    # The rest, if any, is of the core's size (S and the places), whatever the tokens and the layer.
    rest = sum(t.untyped_storage().nbytes() for t in held if t is not projected[0])
    assert rest <= 3 * 8 * rows * cols


@EXECUTIONS
def test_a_frozen_layer_saves_nothing_of_the_input(layer, execution):
    layer, _ = layer(execution)
    layer.values.requires_grad_(False)
    x = torch.randn(64, INNER, dtype=torch.float64, requires_grad=True)
    assert all(t.numel() <= ROWS * COLS for t in held_for_backward(layer, x))


@pytest.mark.parametrize(("execution", "active"), [("additive", 8), ("additive", 3), ("merged", 8), ("merged", 3)])
def test_it_costs_what_the_docstrings_say(layer, execution, active):
    """By torch's counter: the linear, dx and dS of the active rows, and the core where it is added."""
    layer, _ = layer(execution)
    x, g = torch.randn(8, INNER, dtype=torch.float64, requires_grad=True), torch.randn(8, OUT, dtype=torch.float64)
    g[active:] = 0
    layer(x)  # writes, where it writes

    def addmm_(_added, left, right, **_options):  # which the counter does not know in place
        return 2 * left[0] * left[1] * right[1]

    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: addmm_}) as counter:
        layer(x).backward(g)
    forward = 8 * (INNER * OUT + INNER * COLS)
    backward = active * (OUT * INNER + OUT * ROWS + ROWS * COLS)
    if execution == "additive":
        forward += 8 * (COLS * ROWS + ROWS * OUT)
        backward += active * (ROWS * COLS + COLS * INNER)
    assert counter.get_total_flops() == 2 * (forward + backward)
