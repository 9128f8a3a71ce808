"""The structure search finds each architecture's feed-forward pair, in every block, and nothing else."""

import re

import pytest
import torch
from torch import nn

from sparsegrad import NoTargets, SparseGradError
from sparsegrad.roles import find_targets, shape_of

BLOCKS = 4


def test_every_block_gives_its_pair_and_no_attention_gate_or_head(arch):
    model = arch.model()
    found = find_targets(model)
    by_role: dict[str, list] = {}
    for target in found:
        by_role.setdefault(target.role, []).append(target)
    assert {role: {shape_of(t.module) for t in those} for role, those in by_role.items()} == {
        role: {shape} for role, shape in arch.roles.items()
    }
    assert all([t.block for t in those] == list(range(BLOCKS)) for those in by_role.values())
    modules = dict(model.named_modules())
    assert all(modules[t.name] is t.module and t.weight is t.module.weight for t in found)
    assert not [t.name for t in found if re.search(r"attn|attention|gate|wi_0|lm_head|classifier", t.name, re.I)]


def test_every_third_block(arch):
    found = find_targets(arch.model(), every=3)
    assert {t.block for t in found} == {0, 3}
    assert {t.role for t in found} == set(arch.roles)


def test_targets_takes_a_regular_expression_instead_of_the_structure(architectures):
    found = find_targets(architectures["llama"].model(), targets=r"gate_proj$", every=2)
    assert [t.name for t in found] == [f"model.layers.{block}.mlp.gate_proj" for block in (0, 2)]
    assert {t.role for t in found} == {"mlp.gate_proj"}


def test_two_stacks_that_share_a_name_keep_two_roles():
    class Stacks(nn.Module):
        def __init__(self):
            super().__init__()
            for side in ("encoder", "decoder"):
                blocks = nn.ModuleList(nn.ModuleDict({"fc1": nn.Linear(4, 12), "fc2": nn.Linear(12, 4)}) for _ in "ab")
                setattr(self, side, blocks)

    found = find_targets(Stacks())
    assert {t.role for t in found} == {f"{side}.*.{fc}" for side in ("encoder", "decoder") for fc in ("fc1", "fc2")}


def test_nothing_found_lists_the_linears_there_are():
    model = nn.ModuleDict({"layers": nn.ModuleList(nn.ModuleDict({"q": nn.Linear(4, 4)}) for _ in range(3))})
    with pytest.raises(NoTargets, match=r"layers\.\*\.q x3"):
        find_targets(model)
    with pytest.raises(NoTargets, match=r"targets='mlp'.*layers\.\*\.q x3"):
        find_targets(model, targets="mlp")
    with pytest.raises(NoTargets, match="none"):
        find_targets(nn.LayerNorm(4))


@pytest.mark.parametrize(
    ("options", "told"),
    [({"every": 0}, "every=0"), ({"every": -1}, "every=-1"), ({"targets": "("}, "not a regular expression")],
)
def test_a_bad_request_is_told(bert, options, told):
    with pytest.raises(SparseGradError, match=told):
        find_targets(bert.model(), **options)


def test_a_quantised_weight_is_told(bert):
    model = bert.model()
    weight = model.bert.encoder.layer[1].output.dense.weight
    model.bert.encoder.layer[1].output.dense.weight = nn.Parameter(weight.to(torch.int8), requires_grad=False)
    with pytest.raises(SparseGradError, match=r"layer\.1\.output\.dense.*int8.*quantised"):
        find_targets(model)


def test_two_linears_with_one_weight_are_told(bert):
    model = bert.model()
    layers = model.bert.encoder.layer
    layers[2].intermediate.dense.weight = layers[0].intermediate.dense.weight
    with pytest.raises(SparseGradError, match=r"tied"):
        find_targets(model)
    assert {t.block for t in find_targets(model, targets=r"layer\.[13]\.(intermediate|output)\.dense$")} == {1, 3}


def test_one_linear_in_two_places_is_told(bert):
    """Replacing it in one place would silently untie the two."""
    model = bert.model()
    layers = model.bert.encoder.layer
    layers[2].intermediate.dense = layers[0].intermediate.dense
    with pytest.raises(SparseGradError, match=r"tied|shared|two places"):
        find_targets(model)


def test_a_linear_tied_to_an_embedding_is_told(architectures):
    """GPT-2's output head is its input embedding: a rotated copy would untie them."""
    with pytest.raises(SparseGradError, match="tied"):
        find_targets(architectures["gpt2"].model(), targets="lm_head")
