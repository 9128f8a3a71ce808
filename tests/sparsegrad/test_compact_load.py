"""Loading a compact layer's state, whole or in part: the same function, and nothing applied twice."""

import pytest
import torch

from sparsegrad import BasesMismatch
from sparsegrad.compact import COMPACT_EXECUTIONS
from tests.sparsegrad.compact_case import EXECUTIONS, INNER, TOKENS, assert_near, layer_maker, output, trained


@pytest.fixture
def layer(rotation):
    """layer(execution): a new layer of the same W, and W."""
    return layer_maker(rotation)


@pytest.fixture
def x():
    return torch.randn(TOKENS, INNER)


@EXECUTIONS
@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("carrying", [False, True])
def test_a_fresh_layer_takes_the_state_and_is_the_same_function(layer, x, execution, assign, carrying):
    first, weight = layer(execution)
    wanted = output(trained(first, x), x)
    state = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    for other in COMPACT_EXECUTIONS:
        fresh, _ = layer(other)
        if carrying:
            output(trained(fresh, -x, steps=3), x)
        fresh.load_state_dict({name: tensor.clone() for name, tensor in state.items()}, assign=assign)
        assert_near(output(fresh, x), wanted)
        assert_near(fresh.state_dict()["weight"], weight)
        assert fresh.values.requires_grad and not fresh.weight.requires_grad
        trained(fresh, x, steps=2)
        assert not torch.equal(output(fresh, x), wanted)


@EXECUTIONS
@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("part", [("values",), ("weight", "basis_fingerprint"), ("bias",)], ids=str)
def test_part_of_a_state_replaces_that_part(layer, x, execution, assign, part):
    """Into a layer that carries an update of its own."""
    layers = [trained(layer(execution)[0], given, steps=3) for given in (x, -x)]
    first, second = [{name: t.clone() for name, t in made.state_dict().items()} for made in layers]
    output(layers[1], x)
    given = {name: first[name] * 1.5 if name in part[:1] else first[name] for name in part}
    layers[1].load_state_dict({name: t.clone() for name, t in given.items()}, strict=False, assign=assign)
    oracle, _ = layer("additive")
    oracle.load_state_dict(second | given)
    assert_near(output(layers[1], x), output(oracle, x))
    for name, tensor in layers[1].state_dict().items():
        assert_near(tensor.double(), (second | given)[name].double())


@EXECUTIONS
@pytest.mark.parametrize("given", ["plain", "turned"])
def test_a_refused_state_leaves_the_layer_as_it_was(layer, x, execution, given):
    made, weight = layer(execution)
    wanted = output(trained(made, x), x)
    state = layer(execution, turned=given == "turned")[0].state_dict()
    if given == "plain":
        state = {name: state[name] for name in ("weight", "bias")}
    with pytest.raises(BasesMismatch, match=r"plain linear|other bases"):
        made.load_state_dict(state, strict=given != "plain")
    assert_near(output(made, x), wanted)
    assert_near(made.state_dict()["weight"], weight)
