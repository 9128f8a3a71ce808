"""One interface, one train step: each method changes what it says, by as much as it counts, and nothing else."""

import pytest
import torch
from torch import nn

from sparsegrad import Bases, CompactLinear, SparseGradError, SparseGradLinear, calibrate
from sparsegrad.methods import METHODS, Settings, method_named
from sparsegrad.roles import find_targets
from sparsegrad.selection import selection_of

KEPT, RANK, WIDTH, HIDDEN, BLOCKS = 13, 3, 16, 40, 4
LINEARS = 2 * BLOCKS  # of a model with one stack
BIASES, HEAD = BLOCKS * (WIDTH + HIDDEN), 2 * WIDTH + 2


FAMILIES = ("bert", "gpt2", "t5", "llama")
# peft's SHiRA refuses GPT-2's Conv1D: its own test.
TAKEN = [(name, family) for name in METHODS for family in FAMILIES if (name, family) != ("shira", "gpt2")]
ADAPTERS = ("lora", "lora-fa", "shira", "sparsegrad-compact")  # W itself is frozen


def prepared(name, arch, **given):
    model, method = arch.model(), method_named(name)
    settings = Settings(**{"kept": KEPT, "lora_rank": RANK, "lr": 1e-2, **given})
    options = method.calibration(settings)
    bases = None if options is None else calibrate(model, arch.batches(2), 2, **options)
    return method.prepare(model, settings, bases)


def train_step(ready, batch):
    loss = ready.model(**batch).loss
    loss.backward()
    if ready.optimizer is not None:
        ready.optimizer.step()
        ready.optimizer.zero_grad()
    return loss.item()


def original(name):
    """The name that a parameter had before peft wrapped it."""
    return name.removeprefix("base_model.model.").replace(".base_layer", "")


def changed_entries(after, before):
    """Entries that moved, in the coordinates the method steps in: counted above rounding where W is written back to."""
    selection = selection_of(after)
    if selection is None or selection.rotation is None:
        return (after != before).sum().item()
    moved = selection.rotation.rotate((after - before).detach().double()).abs()
    return (moved > 1e-3 * moved.max()).sum().item()


@pytest.fixture(params=list(METHODS))
def name(request):
    return request.param


@pytest.fixture
def family(request, architectures):
    return architectures[request.param]


def each_taken(names=tuple(METHODS)):
    """Every method of ``names`` on every family that it takes."""
    pairs = [(name, family) for name, family in TAKEN if name in names]
    return pytest.mark.parametrize(("name", "family"), pairs, indirect=["family"])


@each_taken()
@pytest.mark.parametrize("trainable", ["mlp", "all"])
def test_the_loss_at_step_0_is_the_models(name, family, trainable):
    ready = prepared(name, family, trainable=trainable)
    expected = family.model().train()(**family.batch()).loss.item()
    assert ready.model(**family.batch()).loss.item() == pytest.approx(expected, rel=1e-5)


@each_taken()
def test_a_step_changes_what_is_counted_and_nothing_else(name, family):
    """Entry by entry, over two batches: at most ``updated`` a step, and the loss falls."""
    ready = prepared(name, family, lr=1e-3)
    before = {n: p.detach().clone() for n, p in ready.model.named_parameters()}
    first = train_step(ready, family.batch())
    changed = {n: changed_entries(p, before[n]) for n, p in ready.model.named_parameters()}
    may = {n for n, p in ready.model.named_parameters() if p.requires_grad}
    assert {n for n, count in changed.items() if count} <= may
    assert sum(changed.values()) <= ready.updated_parameters
    assert ready.trainable_parameters == sum(before[n].numel() for n in may)
    if not METHODS[name].trains:
        assert sum(changed.values()) == 0
        return
    # What SparseGrad updates is all it may: k entries of a rotated weight, none of which has gradient zero here.
    tuned = {SparseGradLinear: "weight", CompactLinear: "values"}
    told = [changed[f"{n}.{tuned[type(m)]}"] for n, m in ready.model.named_modules() if type(m) in tuned]
    assert told == [KEPT] * (len(find_targets(family.model())) if METHODS[name].basis else 0)
    assert sum(changed.values()) > 0
    assert train_step(ready, family.batch()) < first


def test_parameters_are_counted_two_ways(name, bert):
    trainable, updated = {
        "full": (LINEARS * WIDTH * HIDDEN + BIASES + HEAD,) * 2,
        "lora": (LINEARS * RANK * (WIDTH + HIDDEN) + HEAD,) * 2,
        "lora-fa": (BLOCKS * RANK * (WIDTH + HIDDEN) + HEAD,) * 2,  # B alone: (out, r) of both linears of a block
        "shira": (LINEARS * RANK * (WIDTH + HIDDEN) + HEAD,) * 2,
        "sparsegrad-compact": (LINEARS * KEPT + HEAD,) * 2,
        "frozen": (0, 0),
        "frozen-drop": (0, 0),
    }.get(name, (LINEARS * WIDTH * HIDDEN + BIASES + HEAD, LINEARS * KEPT + BIASES + HEAD))
    ready = prepared(name, bert)
    assert (ready.trainable_parameters, ready.updated_parameters) == (trainable, updated)
    assert (ready.optimizer is None) == (name in ("frozen", "frozen-drop")) and ready.model.training


def test_all_trains_everything_else_too(name, bert):
    ready = prepared(name, bert, trainable="all")
    frozen = {n for n, p in ready.model.named_parameters() if not p.requires_grad}
    linears = {
        f"{target.name}.{parameter}" for target in find_targets(bert.model()) for parameter in ("weight", "bias")
    }
    if not METHODS[name].trains:
        assert ready.trainable_parameters == 0
    elif name in ADAPTERS:  # the linears themselves, and of LoRA-FA the factor that stays as drawn
        drawn = {n for n in frozen if ".lora_A." in n}
        assert {original(n) for n in frozen - drawn} == linears
        assert len(drawn) == (LINEARS if name == "lora-fa" else 0)
    else:
        assert not frozen


def test_every_method_takes_the_same_linears(name, bert):
    """The settings choose them, whatever linears the bases cover."""
    model, settings = bert.model(), Settings(kept=KEPT, every=3)
    wanted = {target.name for target in find_targets(model, every=3)}
    method = method_named(name)
    options = method.calibration(settings)
    bases = None if options is None else calibrate(model, bert.batches(2), 2, **{**options, "every": 1})
    ready = method.prepare(model, settings, bases)
    touched = {
        n.removeprefix("base_model.model.")
        for n, m in ready.model.named_modules()
        if isinstance(m, SparseGradLinear | CompactLinear)
        or hasattr(m, "lora_A")
        or hasattr(m, "shira_weight")
        or (name == "frozen-drop" and "forward" in vars(m))
        or (name == "full" and "encoder" in n and isinstance(m, nn.Linear) and m.weight.requires_grad)
    }
    assert touched == (set() if name == "frozen" else wanted)


@each_taken(ADAPTERS)
def test_what_an_adapter_stands_on_stays_bit_equal(name, family):
    """Of compact, whose W may carry the update, W without it, and that to rounding."""
    ready = prepared(name, family)
    plain = dict(family.model().named_parameters())
    for seed in range(3):
        train_step(ready, family.batch(seed))
    layers = {n: m for n, m in ready.model.named_modules() if isinstance(m, CompactLinear)}
    for n, layer in layers.items():
        weight = plain.pop(f"{n}.weight")
        base = layer.base_weight().T if layer.transposed else layer.base_weight()
        torch.testing.assert_close(base, weight.detach(), rtol=0, atol=1e-6)
        assert not torch.equal(layer.merged_weight(), layer.base_weight())
    known = [n for n, p in ready.model.named_parameters() if original(n) in plain and not p.requires_grad]
    parameters = dict(ready.model.named_parameters())
    assert all(torch.equal(parameters[n], plain[original(n)]) for n in known)
    assert len(known) > 10


@pytest.mark.parametrize("name", ["frozen", "frozen-drop"])
def test_frozen_still_carries_the_input_gradient_through_every_block(name, arch):
    """Else the limit would be the cost of a forward alone."""
    ready = prepared(name, arch)
    reached = set()
    for target in find_targets(ready.model):

        def hook(_module, grad_input, _grad_output, name=target.name):
            if grad_input[0] is not None:
                reached.add(name)

        target.module.register_full_backward_hook(hook)
    ready.model(**arch.batch()).loss.backward()
    assert reached == {target.name for target in find_targets(ready.model)}
    assert all(p.grad is None for p in ready.model.parameters())


def test_bad_requests_are_told(bert):
    with pytest.raises(SparseGradError, match=f"unknown method 'sgd'.*{', '.join(METHODS)}"):
        method_named("sgd")
    for name, method in METHODS.items():
        if (options := method.calibration(Settings())) is not None:
            with pytest.raises(SparseGradError, match=f"{name} needs bases.*basis='{options['basis']}'.*given none"):
                method.prepare(bert.model(), Settings())
    for options, told in (
        ({"trainable": "head"}, "'mlp' or 'all'"),
        ({"lora_rank": 0}, "lora_rank=0"),
        ({"fixed_basis": "none"}, "fixed_basis='none': give 'per-block' or 'shared'"),
    ):
        with pytest.raises(SparseGradError, match=told):
            Settings(**options)


def test_shira_refuses_a_conv1d_and_leaves_the_model_alone(architectures):
    model = architectures["gpt2"].model()
    before = {name: (id(p), p.requires_grad) for name, p in model.named_parameters()}
    with pytest.raises(SparseGradError, match=r"shira: transformer\.h\.0\.mlp\.c_fc is a Conv1D.*nn\.Linear alone"):
        method_named("shira").prepare(model, Settings())
    assert {name: (id(p), p.requires_grad) for name, p in model.named_parameters()} == before


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("meprop", "shared"),
        ("sparsegrad-sd", "none"),
        ("sparsegrad-sd", "per-block"),
        ("sparsegrad-compact", "shared"),
        ("lora", "shared"),
        ("frozen-drop", "per-block"),
    ],
)
def test_bases_of_another_kind_than_the_methods_are_told(bert, name, given):
    """A table row named MeProp must not be measured in calibrated bases, nor SparseGrad in the original space."""
    model = bert.model()
    bases: Bases = calibrate(model, bert.batches(2), 2, basis=given)
    with pytest.raises(SparseGradError, match=given):
        method_named(name).prepare(model, Settings(kept=KEPT), bases)


def test_methods_agree_where_every_entry_is_kept(bert):
    """kept=1.0 is dense training in other coordinates: MeProp's first step is then full's, bit for bit almost."""
    full, meprop = prepared("full", bert), prepared("meprop", bert, kept=1.0)
    for ready in (full, meprop):
        train_step(ready, bert.batch())
    for p, q in zip(full.model.parameters(), meprop.model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-4)
    assert isinstance(full.model, nn.Module)
