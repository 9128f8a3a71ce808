"""Compact as a method of the tables, beside the rivals that save memory too: LoRA-FA, SHiRA and frozen-drop."""

import re

import pytest
import torch
from torch import nn

from sparsegrad import SparseGradError, calibrate
from sparsegrad.compact import CompactLinear
from sparsegrad.limits import drop_zero_rows
from sparsegrad.methods import Settings, method_named
from sparsegrad.roles import find_targets

RANK, KEPT, TARGETS = 2, 50, 8


def prepared(name, arch, **settings):
    method, model = method_named(name), arch.model()
    wanted = Settings(kept=KEPT, lora_rank=RANK, **settings)
    options = method.calibration(wanted)
    bases = None if options is None else calibrate(model, arch.batches(2), 2, **options)
    return method.prepare(model, wanted, bases)


def trained_linears(ready):
    """Trainable parameters by name, the head left out."""
    return {
        name: p
        for name, p in ready.model.named_parameters()
        if p.requires_grad and not re.search(r"(^|\.)(classifier|pre_classifier|head)\.", name)
    }


def step(ready, batch):
    ready.model(**batch).loss.backward()
    ready.optimizer.step()
    ready.optimizer.zero_grad()


def test_compact_trains_values_alone_and_freezes_the_body(arch):
    ready = prepared("sparsegrad-compact", arch)
    layers = [m for m in ready.model.modules() if isinstance(m, CompactLinear)]
    trained = trained_linears(ready)
    assert len(layers) == len(find_targets(arch.model())) == len(trained)
    assert all(name.endswith(".values") and p.shape == (KEPT,) for name, p in trained.items())
    before = {name: p.detach().clone() for name, p in trained.items()}
    step(ready, arch.batch())
    assert all(not torch.equal(p, before[name]) for name, p in trained.items())


def test_compact_takes_its_core_from_the_settings(bert):
    ready = prepared("sparsegrad-compact", bert, core=(8, 9))
    assert {(len(m.slices.v), len(m.slices.u)) for m in ready.model.modules() if isinstance(m, CompactLinear)} == {
        (8, 9)
    }


@pytest.mark.parametrize("core", [(17, 9), (5, 5), (0, 1)])
def test_a_core_that_does_not_fit_is_told(bert, core):
    with pytest.raises(SparseGradError, match="core"):
        prepared("sparsegrad-compact", bert, core=core)


def test_lora_fa_trains_the_projection_up_alone(bert):
    full, half = trained_linears(prepared("lora", bert)), trained_linears(prepared("lora-fa", bert))
    assert set(half) == {name for name in full if "lora_B" in name} and len(half) == TARGETS
    assert len(full) == 2 * TARGETS


class Mlp(nn.Module):
    """Linears alone, so that what is saved is theirs."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(16, 64), nn.Linear(64, 16)) for _ in range(2))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x.sum()


def test_lora_fa_saves_no_input():
    """LoRA keeps each linear's x; LoRA-FA x A^T, of the rank's width."""
    from sparsegrad.rivals import lora

    held = {}
    for name, trains in (("lora", True), ("lora-fa", False)):
        plain = Mlp().requires_grad_(False)
        model = lora(plain, find_targets(plain), RANK, factor_a_trains=trains)
        own = {t.untyped_storage().data_ptr() for t in model.parameters()}
        kept: list[torch.Tensor] = []

        def keep(tensor, kept=kept):
            kept.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            model(torch.randn(100, 16)).backward()
        held[name] = {t.untyped_storage().nbytes() // 400 for t in kept if t.untyped_storage().data_ptr() not in own}
    assert {16, 64} <= held["lora"]
    assert held["lora-fa"] == {RANK}


def test_shira_trains_as_many_entries_as_lora(bert):
    lora, shira = prepared("lora", bert), prepared("shira", bert)
    counts = [sum(p.numel() for p in trained_linears(ready).values()) for ready in (lora, shira)]
    assert counts[0] == counts[1] == TARGETS * RANK * (16 + 40)
    assert lora.trainable_parameters == shira.trainable_parameters
    step(shira, bert.batch())


def test_shiras_places_are_the_seeds(bert):
    places = []
    for seed in (0, 0, 1):
        ready = prepared("shira", bert, seed=seed)
        places.append(torch.cat([m.shira_indices["default"].flatten() for m in ready.model.modules()
                                 if hasattr(m, "shira_indices") and "default" in m.shira_indices]))  # fmt: skip
    assert torch.equal(places[0], places[1]) and not torch.equal(places[0], places[2])


def test_shira_says_that_it_does_not_take_conv1d(architectures):
    with pytest.raises(SparseGradError, match="Conv1D"):
        prepared("shira", architectures["gpt2"])


def embeddings_gradients(ready, batch):
    """dL/d(output) of every embedding that passes one on (T5 calls its shared one by two names)."""
    seen: list[torch.Tensor] = []

    def watch(_module, _input, output):
        if output.requires_grad:
            output.register_hook(seen.append)

    for module in ready.model.modules():
        if isinstance(module, nn.Embedding):
            module.register_forward_hook(watch)
    ready.model(**batch).loss.backward()
    return seen


def test_frozen_drop_is_frozens_input_gradient(arch):
    plain, drop = (embeddings_gradients(prepared(name, arch), arch.batch()) for name in ("frozen", "frozen-drop"))
    assert plain and all(g.abs().max() > 0 for g in plain)
    torch.testing.assert_close(drop, plain, rtol=1e-6, atol=1e-8)


def test_frozen_drop_is_exact_and_multiplies_active_rows_alone():
    """dx of one linear: bit for bit on integers, whatever the order of the sums; fewer rows, fewer operations."""
    from torch.utils.flop_counter import FlopCounterMode

    model = Mlp().requires_grad_(False)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randint(-3, 4, p.shape))
    linear = find_targets(model)[0].module
    assert isinstance(linear, nn.Linear)
    drop_zero_rows(find_targets(model))
    x = torch.randint(-4, 5, (2, 6, 16)).float().requires_grad_()
    g = torch.randint(-4, 5, (2, 6, 64)).float()
    g[:, 2:] = 0
    y = linear(x)
    assert torch.equal(y, nn.functional.linear(x, linear.weight, linear.bias))
    with FlopCounterMode(display=False) as counter:
        y.backward(g)
    assert x.grad is not None and torch.equal(x.grad, g @ linear.weight)
    assert counter.get_total_flops() == 2 * 4 * 64 * 16
