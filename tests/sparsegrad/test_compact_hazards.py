"""What could harm a compact layer: a load that fails, a cast, a shared state dict, a step that diverges."""

import pytest
import torch

from sparsegrad import BasesMismatch, SparseGradError, calibrate, convert
from tests.sparsegrad.compact_case import EXECUTIONS, INNER, OUT, TOKENS, assert_near, layer_maker, output, trained


@pytest.fixture
def layer(rotation):
    """layer(execution): a new layer of the same W, and W."""
    return layer_maker(rotation)


@pytest.fixture
def x():
    return torch.randn(TOKENS, INNER)


@EXECUTIONS
@pytest.mark.parametrize("given", ["plain", "turned", "shape"])
def test_a_refused_state_leaves_the_layer_as_it_was(layer, x, execution, given):
    made, weight = layer(execution)
    wanted = output(trained(made, x), x)
    state = layer(execution, turned=given == "turned")[0].state_dict()
    if given == "plain":
        state = {name: state[name] for name in ("weight", "bias")}
    if given == "shape":
        state["weight"] = torch.zeros(OUT + 1, INNER)
        # As in any module, what fits is loaded all the same: values of zero.
        wanted = output(layer("additive")[0], x)
    with pytest.raises((BasesMismatch, RuntimeError), match=r"plain linear|other bases|size mismatch"):
        made.load_state_dict(state, strict=given != "plain")
    assert_near(output(made, x), wanted)
    assert_near(made.state_dict()["weight"], weight)


@EXECUTIONS
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_cast_rounds_the_weight_and_not_the_update(layer, x, execution, dtype):
    made, weight = layer(execution)
    optimizer = torch.optim.SGD([made.values], lr=0.1)
    wanted = output(trained(made, x), x)
    values = made.values
    made.to(dtype)
    assert made.values is values and values.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert made.weight.dtype == made.bias.dtype == made.slices.u.dtype == made.slices.v.dtype == dtype
    if dtype == torch.bfloat16:
        assert_near(made.state_dict()["weight"].float(), weight.bfloat16().float(), tolerance=1e-6)
        if execution == "merged":
            with pytest.raises(SparseGradError, match=r"'merged'.*bfloat16.*'additive'"):
                made(x.to(dtype))
            return
    ours = output(made, x.to(dtype))
    assert ours.dtype == dtype
    assert_near(ours.to(wanted.dtype), wanted, tolerance=2e-6 if dtype == torch.float64 else 0.05)
    made(x.to(dtype)).square().mean().backward()
    assert values.grad.dtype == values.dtype
    optimizer.step()
    assert not torch.equal(output(made, x.to(dtype)), ours)


def test_there_and_back_through_half_precision_keeps_the_values(layer, x):
    made, _ = layer("planned")
    values = trained(made, x).values.detach().clone()
    made.bfloat16()
    output(made, x.bfloat16())
    assert torch.equal(made.float().values, values)


@EXECUTIONS
def test_values_for_other_base_weights_are_told(layer, x, execution):
    """What trains and the fingerprints alone, as a small checkpoint holds them."""
    made, _ = layer(execution)
    wanted = output(trained(made, x), x)
    state = layer(execution, seed=5)[0].state_dict()
    with pytest.raises(BasesMismatch, match="weights"):
        made.load_state_dict({n: t for n, t in state.items() if n not in ("weight", "bias")}, strict=False)
    assert_near(output(made, x), wanted)


@EXECUTIONS
@pytest.mark.parametrize("assign", [False, True])
def test_one_state_serves_two_layers(layer, x, execution, assign):
    """The first to take it trains on; what it writes into its weight must not reach the second's."""
    first, weight = layer(execution)
    state = {name: tensor.clone() for name, tensor in trained(first, x).state_dict().items()}
    wanted = output(first, x)
    layer(execution)[0].load_state_dict(state, assign=assign)
    one, other = layer(execution)[0], layer(execution)[0]
    one.load_state_dict(state, assign=assign)
    output(one, x)
    assert_near(state["weight"], weight)
    other.load_state_dict(state, assign=assign)
    assert_near(output(other, x), wanted)


@EXECUTIONS
def test_a_state_taken_before_the_first_forward_is_not_written_into(layer, x, execution):
    """Its tensors live on with the layer, as any module's; weight and values must go on belonging together."""
    made, weight = layer(execution)
    state = made.state_dict()
    wanted = output(trained(made, x), x)
    fresh, _ = layer(execution)
    fresh.load_state_dict(state)
    assert_near(state["weight"], weight)
    assert_near(output(fresh, x), wanted)


@EXECUTIONS
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_a_diverged_step_does_not_destroy_the_base_weight(layer, x, execution, bad):
    made, weight = layer(execution)
    wanted = output(trained(made, x), x)
    values = made.values.detach().clone()
    made.values.data.fill_(bad)
    output(made, x)
    assert_near(made.state_dict()["weight"], weight)
    made.values.data.copy_(values)
    assert_near(output(made, x), wanted)


def test_an_option_of_the_other_support_is_told(bert):
    """accumulate=False with support="fixed" would do nothing."""
    model = bert.model()
    bases = calibrate(model, bert.batches(2), 2, core=(6, 5))
    with pytest.raises(SparseGradError, match="accumulate"):
        convert(model, bases, kept=20, core=(6, 5), support="fixed", accumulate=False)


def test_planned_compiles_whole(layer, x):
    """As additive: nothing is written from inside a graph."""
    made, _ = layer("planned")
    eager = output(made, x)
    torch.testing.assert_close(output(torch.compile(made, fullgraph=True, backend="aot_eager"), x), eager)
