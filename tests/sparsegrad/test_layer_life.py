"""The layer's life: checkpointed, copied, pickled, loaded, frozen and freed, it goes on selecting."""

import copy
import gc
import io
import weakref

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from sparsegrad import BasesMismatch, SparseGradLinear

INNER, OUT, KEPT = 6, 9, 11


@pytest.fixture
def layer(rotation):
    """layer(...): a new layer; those of the same sides share their bases."""

    def make(*, sides="both"):
        linear = nn.Linear(INNER, OUT, dtype=torch.float64)
        return SparseGradLinear.from_linear(linear, rotation(INNER, OUT, sides=sides), kept=KEPT)

    return make


@pytest.fixture
def x():
    return torch.randn(5, INNER, dtype=torch.float64)


@pytest.fixture
def g():
    g = torch.randn(5, OUT, dtype=torch.float64)
    g[1::2] = 0
    return g


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_changes_nothing(layer, x, reentrant):
    layer = layer()
    x.requires_grad_()
    layer(x).square().sum().backward()
    plain, dx = layer.weight.grad.clone(), x.grad.clone()
    layer.zero_grad()
    x.grad = None
    checkpoint(layer, x, use_reentrant=reentrant).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad.to_dense(), plain.to_dense(), rtol=0, atol=0)
    torch.testing.assert_close(x.grad, dx, rtol=0, atol=0)


@pytest.mark.parametrize("way", ["deepcopy", "pickle", "deepcopy with a gradient"])
def test_a_copy_selects_and_is_independent(layer, x, g, way):
    layer = layer()
    layer(x).backward(g)
    wanted = layer.weight.grad.to_dense()
    if way != "deepcopy with a gradient":
        layer.zero_grad()
    if way == "pickle":
        file = io.BytesIO()
        torch.save(layer, file)
        file.seek(0)
        other = torch.load(file, weights_only=False)
    else:
        other = copy.deepcopy(layer)
    other.zero_grad()
    for selecting, idle in ((other, layer), (layer, other)):
        layer.zero_grad(), other.zero_grad()
        selecting(x).backward(g)
        torch.testing.assert_close(selecting.weight.grad.to_dense(), wanted, rtol=0, atol=0)
        assert selecting.weight.grad._nnz() == KEPT and idle.weight.grad is None
    with torch.no_grad():
        other.weight.zero_()
    assert layer.weight.abs().sum() > 0


@pytest.mark.parametrize("assign", [True, False])
def test_a_state_dict_goes_round_and_the_layer_still_selects(layer, x, g, assign):
    layer, other = layer(), layer()
    other.load_state_dict({name: t.clone() for name, t in layer.state_dict().items()}, strict=True, assign=assign)
    assert torch.equal(layer(x), other(x))
    for made in (layer, other):
        made(x).backward(g)
    assert other.weight.grad._nnz() == KEPT
    assert torch.equal(layer.weight.grad.to_dense(), other.weight.grad.to_dense())


def test_a_state_dict_of_other_bases_is_told(layer):
    layer, other = layer(), layer(sides="in")
    before = other.weight.detach().clone()
    with pytest.raises(BasesMismatch, match="other bases"):
        other.load_state_dict(layer.state_dict())
    assert torch.equal(other.weight, before)


def test_a_plain_state_dict_is_told_even_where_it_need_not_be_complete(layer):
    """A weight in the original space, read as a rotated one, is another function; the Trainer resumes so."""
    layer = layer()
    plain = nn.Linear(INNER, OUT, dtype=torch.float64).state_dict()
    before = layer.weight.detach().clone()
    for strict in (True, False):
        with pytest.raises((BasesMismatch, RuntimeError)):
            layer.load_state_dict(plain, strict=strict)
        assert not torch.equal(layer.weight, plain["weight"]) and torch.equal(layer.weight, before)


def test_a_weight_frozen_for_a_while(layer, x, g):
    layer = layer()
    layer.weight.requires_grad_(False)
    layer(x.requires_grad_()).backward(g)
    assert layer.weight.grad is None and x.grad is not None
    layer.weight.requires_grad_(True)
    layer(x).backward(g)
    assert layer.weight.grad is not None and layer.weight.grad._nnz() == KEPT


def test_nothing_keeps_a_layer_alive(layer, x, g):
    layer = layer()
    for _ in range(2):
        layer(x).backward(g)
    seen = [weakref.ref(layer.weight), weakref.ref(layer.weight.grad), weakref.ref(layer.rotation.u)]
    gc.collect()
    del layer
    gc.collect()
    assert [ref() for ref in seen] == [None, None, None]
