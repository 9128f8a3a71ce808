"""What a compact layer keeps for backward and what it multiplies: x U_C^T, and the active rows alone."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sparsegrad.compact import CompactLinear
from sparsegrad.core import Slices
from tests.sparsegrad.compact_case import EXECUTIONS
from tests.sparsegrad.compact_step import COLS, INNER, OUT, ROWS, layer_maker


@pytest.fixture
def layer(rotation):
    """layer(execution, ...): a layer whose values are not zero any more, and the linear it was made from."""
    return layer_maker(rotation)


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
