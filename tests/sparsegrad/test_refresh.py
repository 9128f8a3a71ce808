"""A refreshed support: chosen from fresh gradients, moments carried, the function unmoved."""

from typing import Any

import pytest
import torch

import sparsegrad
from sparsegrad.adapter import compact_layers
from sparsegrad.core import strongest

KEPT, CORE = 20, (8, 8)


def compact(bert, **options):
    model = bert.model(dtype=torch.float64)
    bases = sparsegrad.calibrate(model, bert.batches(2), 2, basis="per-block", core=CORE)
    sparsegrad.convert(model.requires_grad_(False), bases, support="fixed", kept=KEPT, core=CORE, **options)
    return model


def trained(model, optimizer, bert, seeds):
    for seed in seeds:
        optimizer.zero_grad()
        model(**bert.batch(seed)).loss.backward()
        optimizer.step()


@pytest.mark.parametrize("execution", ["additive", "merged"])
def test_the_new_support_is_the_strongest_of_the_gradients_since(bert, execution, monkeypatch):
    model = compact(bert, execution=execution)
    layer = next(iter(compact_layers(model).values()))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.0)
    energy = torch.zeros(CORE, dtype=torch.float64)
    forward = layer.core

    def add(gradient):
        energy.add_(gradient.square())

    def watched():
        core = forward()
        if core.requires_grad:
            core.register_hook(add)
        return core

    monkeypatch.setattr(layer, "core", watched)
    sparsegrad.refresh_support(model, optimizer, every=3)
    before = layer.places.clone()
    trained(model, optimizer, bert, range(2))
    assert torch.equal(layer.places, before)  # only the third step chooses
    trained(model, optimizer, bert, [2])
    assert torch.equal(layer.places, strongest(energy, KEPT)) and not torch.equal(layer.places, before)


@pytest.mark.parametrize("execution", ["additive", "merged"])
def test_the_function_does_not_jump_and_moments_follow_their_entries(bert, execution):
    model = compact(bert, execution=execution)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    handle = sparsegrad.refresh_support(model, optimizer, every=4)
    trained(model, optimizer, bert, range(3))
    model(**bert.batch(3)).loss.backward()
    layers = compact_layers(model)
    old = {}
    # What the fourth step leaves, before the refresh that follows it.
    hooks = dict(optimizer._optimizer_step_post_hooks)
    optimizer._optimizer_step_post_hooks.clear()
    optimizer.step()
    for name, layer in layers.items():
        state = {key: value.clone() for key, value in optimizer.state[layer.values].items()}
        old[name] = (layer.places.clone(), layer.merged_weight().clone(), state)
    optimizer._optimizer_step_post_hooks.update(hooks)
    next(iter(hooks.values()))(optimizer, (), {})
    moved = 0
    for name, layer in layers.items():
        places, weight, state = old[name]
        torch.testing.assert_close(layer.merged_weight(), weight, rtol=0, atol=1e-15)
        stays = torch.isin(layer.places, places)
        moved += int((~stays).sum())
        now = optimizer.state[layer.values]
        for key in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(now[key][stays], state[key][torch.isin(places, layer.places)])
            assert not now[key][~stays].any()
        assert now["step"] == state["step"]
    assert moved > 0
    handle.remove()
    chosen = {name: layer.places.clone() for name, layer in layers.items()}
    trained(model, optimizer, bert, range(8))
    assert all(torch.equal(layer.places, chosen[name]) for name, layer in layers.items())


def test_what_left_the_support_is_saved_and_loaded(bert, tmp_path):
    model = compact(bert)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-1)
    sparsegrad.refresh_support(model, optimizer, every=2)
    trained(model, optimizer, bert, range(6))
    assert any(layer.settled is not None and layer.settled.any() for layer in compact_layers(model).values())
    sparsegrad.save(model, tmp_path)
    again = sparsegrad.load(bert.model(dtype=torch.float64), tmp_path)
    torch.testing.assert_close(again(**bert.batch()).logits, model(**bert.batch()).logits, rtol=0, atol=1e-12)
    fresh = compact(bert)
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(fresh(**bert.batch()).logits, model(**bert.batch()).logits, rtol=0, atol=1e-12)


def test_a_gradient_the_scaler_rejects_chooses_nothing(bert):
    model = compact(bert)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    sparsegrad.refresh_support(model, optimizer, every=1)
    before = {name: layer.places.clone() for name, layer in compact_layers(model).items()}
    (model(**bert.batch()).loss * float("inf")).backward()
    energies = [layer.energy for layer in compact_layers(model).values()]
    assert all(energy is not None and torch.isfinite(energy).all() for energy in energies)
    optimizer.zero_grad()
    optimizer.step()
    assert all(torch.equal(layer.places, before[name]) for name, layer in compact_layers(model).items())


def test_bad_requests(bert):
    model = compact(bert)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    wrong: list[Any] = [0, -1, 1.5, True]
    for every in wrong:
        with pytest.raises(sparsegrad.SparseGradError, match="every="):
            sparsegrad.refresh_support(model, optimizer, every=every)
    with pytest.raises(sparsegrad.SparseGradError, match="no compact layer"):
        sparsegrad.refresh_support(bert.model(), optimizer, every=1)
    other = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(sparsegrad.SparseGradError, match="does not hold the values of bert"):
        sparsegrad.refresh_support(model, other, every=1)
