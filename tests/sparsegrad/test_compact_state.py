"""A compact layer's state: unmerged weights at any moment, through every copy and cast."""

import copy
import io

import pytest
import torch

from sparsegrad import SparseGradError
from tests.sparsegrad.compact_case import EXECUTIONS, INNER, TOKENS, assert_near, layer_maker, output, trained


@pytest.fixture
def layer(rotation):
    """layer(execution): a new layer of the same W, and W."""
    return layer_maker(rotation)


@pytest.fixture
def x():
    return torch.randn(TOKENS, INNER)


@EXECUTIONS
def test_state_dict_holds_the_unmerged_weight_at_any_moment(layer, x, execution):
    layer, weight = layer(execution)
    assert set(layer.state_dict()) == {
        "weight",
        "bias",
        "values",
        "places",
        "basis_fingerprint",
        "base_fingerprint",
    }
    for moment in (
        lambda: None,
        lambda: layer(x),  # a forward
        lambda: trained(layer, x),  # after a step, before the next forward
        lambda: output(layer, x),  # after both
        lambda: layer.eval()(x),
        lambda: layer.values.data.zero_(),
        lambda: layer.train()(x),
    ):
        moment()
        before = output(layer, x)
        state = layer.state_dict()
        assert_near(state["weight"], weight)
        assert torch.equal(state["values"], layer.values)
        assert_near(output(layer, x), before)  # asking for the state changes nothing


@EXECUTIONS
def test_a_state_dict_is_a_snapshot_of_one_moment(layer, x, execution):
    """Weight and values taken together still belong together after the layer has gone on training."""
    layer, weight = layer(execution)
    state = trained(layer, x).state_dict()
    trained(layer, x)
    output(layer, x)
    assert_near(state["weight"], weight)


@EXECUTIONS
@pytest.mark.parametrize("way", ["deepcopy", "pickle", "state file"])
def test_a_copy_is_the_same_function_and_independent(layer, x, execution, way):
    made, weight = layer(execution)
    wanted = output(trained(made, x), x)
    if way == "deepcopy":
        other = copy.deepcopy(made)
    else:
        file = io.BytesIO()
        torch.save(made if way == "pickle" else made.state_dict(), file)
        file.seek(0)
        if way == "pickle":
            other = torch.load(file, weights_only=False)
        else:
            other, _ = layer(execution)
            other.load_state_dict(torch.load(file, weights_only=True))
    assert_near(output(other, x), wanted)
    trained(other, x, steps=3)
    assert_near(output(made, x), wanted)
    assert not torch.allclose(output(other, x), wanted, atol=1e-3)
    for one in (made, other):
        assert_near(one.state_dict()["weight"], weight)


@EXECUTIONS
def test_a_cast_to_double_goes_on_as_before(layer, x, execution):
    made, _ = layer(execution)
    optimizer = torch.optim.SGD([made.values], lr=0.1)
    wanted = output(trained(made, x), x)
    values = made.values
    made.double()
    assert made.values is values
    assert {t.dtype for t in (values, made.weight, made.bias, made.slices.u, made.slices.v)} == {torch.float64}
    ours = output(made, x.double())
    assert_near(ours.float(), wanted)
    made(x.double()).square().mean().backward()
    optimizer.step()
    assert not torch.equal(output(made, x.double()), ours)


@EXECUTIONS
def test_a_cast_to_half_precision_rounds_w_without_the_update(layer, x, execution):
    """W + update, rounded together, would lose the update below bf16's step; merged is refused from here on."""
    made, weight = layer(execution)
    wanted = output(trained(made, x), x)
    made.bfloat16()
    # Exact but for an entry that the writes' roundings carried over the middle of two bf16 numbers.
    assert (made.state_dict()["weight"] == weight.bfloat16()).double().mean() > 0.97
    if execution == "merged":
        with pytest.raises(SparseGradError, match=r"'merged'.*bfloat16.*'additive'"):
            made(x.bfloat16())
        return
    ours = output(made, x.bfloat16())
    assert ours.dtype == torch.bfloat16 and (ours - wanted).norm() < 0.01 * wanted.norm()
    before = made.weight.clone()
    made(x.bfloat16()).square().mean().backward()
    assert torch.equal(made.weight, before)


@pytest.mark.parametrize("execution", ["merged", "planned"])
def test_a_thousand_rewrites_wear_the_weight_by_a_walk_of_roundings(layer, x, execution):
    """Each write rounds once, by at most half of fp32's step; a thousand of them must not add up in one direction."""
    layer, weight = layer(execution)
    chance = torch.Generator().manual_seed(1)
    for _ in range(1000):
        layer.values.data.normal_(std=0.1, generator=chance)
        output(layer, x)
    error = layer.state_dict()["weight"] - weight
    assert error.norm() <= 3 * 1000**0.5 * 2**-24 * weight.norm()
