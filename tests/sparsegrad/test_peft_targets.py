"""Which linears a configuration adapts, and requests that cannot be met."""

from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import nn

from sparsegrad.errors import NoTargets, SparseGradError
from sparsegrad.peft import SparseGradConfig
from tests.sparsegrad.peft_case import DEPRECATED_NAMES, adapted, layers_of, logits

pytestmark = DEPRECATED_NAMES


TARGETS: dict[str, tuple[dict[str, Any], int]] = {
    "name endings": ({"target_modules": ["intermediate.dense"]}, 4),
    "a whole name": ({"target_modules": ["bert.encoder.layer.1.output.dense"]}, 1),
    "a pattern": ({"target_modules": r".*attention\.self\.(query|value)"}, 8),
    "all linears": ({"target_modules": "all-linear", "task_type": "SEQ_CLS"}, 4 * 6 + 1),
    "some blocks": ({"target_modules": ["query"], "layers_to_transform": [0, 3]}, 2),
    "one block of the MLPs": ({"layers_to_transform": 2}, 2),
    "blocks of a named list": ({"layers_to_transform": [1], "layers_pattern": "layer"}, 2),
    "all but one": ({"exclude_modules": ["layer.0.output.dense"]}, 7),
    "all but a pattern": ({"exclude_modules": r".*\.layer\.[01]\..*"}, 4),
}


@pytest.mark.parametrize("options", list(TARGETS))
def test_targets(options, bert):
    given, count = TARGETS[options]
    model = adapted(bert.model(), **given)
    assert len(layers_of(model)) == count
    model(**bert.batch()).loss.backward()
    assert all(layer.sparsegrad_values["default"].grad is not None for layer in layers_of(model).values())


def test_conv1d_is_known_without_being_told(architectures):
    gpt2 = architectures["gpt2"]
    for given in (None, True):
        adapted(gpt2.model(), fan_in_fan_out=given)
    with pytest.warns(UserWarning, match="fan_in_fan_out is set to False but .*Conv1D"):
        model = adapted(gpt2.model(), fan_in_fan_out=False)
    batch = gpt2.batch()
    before = logits(model, batch)
    torch.testing.assert_close(logits(model.merge_and_unload(), batch), before)


class Odd(nn.Module):
    """Modules that are no plain floating-point linear of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Linear(6, 6)
        self.tied = nn.Linear(6, 6)
        self.twin = nn.Linear(6, 6)
        self.twin.weight = self.tied.weight
        self.conv = nn.Conv1d(6, 6, 1)
        self.attention = nn.MultiheadAttention(6, 2)
        self.bytes = nn.Linear(6, 6)
        self.bytes.weight = nn.Parameter(torch.ones(6, 6, dtype=torch.uint8), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fine(x)


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "tied": (
        {"target_modules": ["fine", "tied"]},
        SparseGradError,
        "tied shares its weight with twin.weight.*exclude_modules",
    ),
    "no linear": ({"target_modules": ["fine", "conv"]}, TypeError, "Target module conv, a Conv1d, is not supported"),
    "quantised": ({"target_modules": ["fine", "bytes"]}, SparseGradError, "bytes holds torch.uint8 .*exclude_modules"),
    "never called": ({"target_modules": ["fine", "out_proj"]}, SparseGradError, "attention.out_proj is the projection"),
    "too many entries": ({"target_modules": ["fine"], "kept": 37}, SparseGradError, "kept=37 entries of fine"),
    "no entries": ({"target_modules": ["fine"], "kept": 0}, SparseGradError, "kept=0 entries of fine"),
    "a small core": ({"target_modules": ["fine"], "kept": 9, "core": (2, 4)}, SparseGradError, "do not fit core"),
    "a large core": ({"target_modules": ["fine"], "core": (7, 4)}, SparseGradError, "core=.7, 4. does not fit fine"),
    "not there": ({"target_modules": ["absent"]}, ValueError, "Target modules {'absent'} not found"),
    "no structure": ({}, NoTargets, "Please specify `target_modules` in `peft_config`"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_a_request_that_cannot_be_met_changes_nothing(case):
    options, error, said = REFUSED[case]
    model: Any = Odd()
    modules, flags = list(model.modules()), [p.requires_grad for p in model.parameters()]
    with pytest.raises(error, match=said) as raised:
        get_peft_model(model, SparseGradConfig(**options))
    assert "\n" not in str(raised.value)
    assert list(model.modules()) == modules
    assert [p.requires_grad for p in model.parameters()] == flags


def test_blocks_that_are_not_there(bert):
    with pytest.raises(NoTargets, match=r"layers_to_transform=\[9\]: none of bert.encoder.layer.0.inter"):
        adapted(bert.model(), layers_to_transform=[9])


def test_a_second_adapter_that_fails_leaves_the_first_as_it_was(bert):
    model: Any = adapted(bert.model())
    batch = bert.batch()
    before, state = logits(model, batch), list(model.state_dict())
    with pytest.raises(SparseGradError, match="does not fit"):
        model.add_adapter("other", SparseGradConfig(core=(4000, 4000)))
    assert list(model.peft_config) == list(model.base_model.peft_config) == ["default"]
    assert list(model.state_dict()) == state and torch.equal(logits(model, batch), before)
