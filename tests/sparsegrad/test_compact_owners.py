"""W belongs to others too: what carries the update is known again, or known to be gone."""

import copy
import pickle

import accelerate
import pytest
import torch

import sparsegrad
from sparsegrad import SparseGradError
from sparsegrad.adapter import compact_layers

KEPT, CORE = 20, (8, 8)
WRITES = pytest.mark.parametrize("execution", ["planned", "merged"])


def compact(bert, execution):
    model = bert.model(dtype=torch.float64)
    bases = sparsegrad.calibrate(model, bert.batches(2), 2, basis="per-block", core=CORE, kept=KEPT)
    return sparsegrad.convert(
        model.requires_grad_(False), bases, support="fixed", kept=KEPT, core=CORE, execution=execution
    )


def train(model, bert, steps=3):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for seed in range(steps):
        model(**bert.batch(seed)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def said(model, bert):
    with torch.no_grad():
        return model(**bert.batch(7)).logits.clone()


def written(model):
    return [bool(layer._carries()) for layer in compact_layers(model).values()]


def test_offloading_is_added_to_and_never_written_into(bert):
    """accelerate puts the base weight back before each forward: an update written into it would be lost."""
    trained = train(compact(bert, "additive"), bert)
    for execution in ("additive", "planned"):
        model = compact(bert, execution)
        model.load_state_dict(trained.state_dict())
        accelerate.cpu_offload(model, execution_device="cpu")
        for _ in range(3):
            torch.testing.assert_close(said(model, bert), said(trained, bert), rtol=1e-9, atol=1e-9)
    merged = accelerate.cpu_offload(compact(bert, "merged"), execution_device="cpu")
    with pytest.raises(SparseGradError, match=r"merged.*offloading"):
        said(merged, bert)


@WRITES
def test_a_weight_put_in_its_place_carries_nothing(bert, execution):
    """FSDP points the parameter at its flat one before each forward."""
    model = train(compact(bert, execution), bert)
    bases = {name: layer.base_weight().clone() for name, layer in compact_layers(model).items()}
    expected = said(model, bert)
    assert any(written(model))
    for name, layer in compact_layers(model).items():
        layer.weight.data = bases[name]
    assert not any(written(model))
    for layer, base in zip(compact_layers(model).values(), bases.values(), strict=True):
        torch.testing.assert_close(layer.base_weight(), base, rtol=0, atol=0)
    for _ in range(2):
        torch.testing.assert_close(said(model, bert), expected, rtol=1e-9, atol=1e-9)


@WRITES
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_knows_that_its_weight_carries(bert, execution, copied):
    model = train(compact(bert, execution), bert)
    expected = said(model, bert)
    twin = copied(model)
    assert written(twin) == written(model) and any(written(twin))
    train(model, bert)  # on its own weights
    assert torch.equal(said(twin, bert), expected)
    for one, other in zip(
        compact_layers(twin).values(), compact_layers(compact(bert, execution)).values(), strict=True
    ):
        torch.testing.assert_close(one.base_weight(), other.weight, rtol=1e-9, atol=1e-9)


@WRITES
def test_training_goes_on_after_inference_mode(bert, execution):
    """The update written while it is on must not be a tensor that autograd refuses for good."""
    model, other = compact(bert, execution), compact(bert, execution)
    for one in (model, other):
        train(one, bert, 1)
        if one is model:
            with torch.inference_mode():
                one(**bert.batch(7))
        train(one, bert, 2)
    torch.testing.assert_close(said(model, bert), said(other, bert), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("execution", ["additive", "merged"])
def test_a_state_of_before_the_first_refresh_is_loaded_after_it(bert, execution):
    """As the Trainer does at the end, where an early checkpoint was the best."""
    model = compact(bert, execution)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    sparsegrad.refresh_support(model, optimizer, every=2)
    early, expected = copy.deepcopy(model.state_dict()), said(model, bert)
    for seed in range(4):
        model(**bert.batch(seed)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert any(layer.settled is not None for layer in compact_layers(model).values())
    model.load_state_dict(early)
    torch.testing.assert_close(said(model, bert), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
@pytest.mark.parametrize("support", ["fixed", "dynamic"])
def test_a_layer_quantised_or_tied_after_calibration_is_refused_whole(bert, dtype, support):
    model = bert.model()
    bases = sparsegrad.calibrate(model, bert.batches(2), 2, basis="per-block", core=CORE, kept=KEPT)
    names = list(bases.layers)
    for what in ("quantised", "tied"):
        other = copy.deepcopy(model)
        last = other.get_submodule(names[-1])
        if what == "quantised":
            last.weight = torch.nn.Parameter(last.weight.detach().to(dtype), requires_grad=False)
        else:
            like = next(n for n in names if other.get_submodule(n).weight.shape == last.weight.shape)
            last.weight = other.get_submodule(like).weight
        with pytest.raises(SparseGradError, match=what):
            sparsegrad.convert(other, bases, support=support, kept=KEPT)
        assert all(type(other.get_submodule(name)) is torch.nn.Linear for name in names)
