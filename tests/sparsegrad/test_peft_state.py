"""The state of an adapted model: out of it, into another, without a PeftModel, in half precision, and copied."""

import copy
import pickle
from typing import Any

import pytest
import torch
from peft import (
    PeftModel,
    get_base_model_state_dict,
    get_peft_model_state_dict,
    inject_adapter_in_model,
    set_base_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors.torch import load_file, save_file
from torch import nn

from sparsegrad.peft import SparseGradConfig
from tests.sparsegrad.peft_case import DEPRECATED_NAMES, adapted, layers_of, logits, same_state

pytestmark = DEPRECATED_NAMES


def test_the_base_models_state_goes_out_and_in_by_its_own_names(arch):
    model = arch.model()
    state = copy.deepcopy(model.state_dict())
    peft_model = adapted(model)
    told = get_base_model_state_dict(peft_model)
    assert told.keys() == state.keys() and all(torch.equal(told[name], state[name]) for name in state)
    with torch.no_grad():
        for p in peft_model.parameters():
            p.add_(1)
    result = set_base_model_state_dict(peft_model, state)
    assert not result.missing_keys and not result.unexpected_keys
    again = get_base_model_state_dict(peft_model)
    assert all(torch.equal(again[name], state[name]) for name in state)


def test_layers_injected_without_a_peft_model(bert):
    model, batch = bert.model(), bert.batch()
    told = get_peft_model_state_dict(adapted(bert.model()))
    # What will be loaded over is not drawn, and bases are not asked for.
    inject_adapter_in_model(SparseGradConfig(kept=0.1, bases="not read"), model, low_cpu_mem_usage=True)
    assert not any(layer.sparsegrad_u["default"].any() for layer in layers_of(model).values())
    assert "meta" in {p.device.type for p in model.parameters()}
    result: Any = set_peft_model_state_dict(model, told, low_cpu_mem_usage=True)
    assert not result.unexpected_keys and "meta" not in {p.device.type for p in model.parameters()}
    torch.manual_seed(0)
    assert torch.equal(logits(model.eval(), batch), logits(_with(bert.model(), told), batch))


def _with(model: nn.Module, state: dict[str, torch.Tensor]) -> nn.Module:
    peft_model = adapted(model)
    set_peft_model_state_dict(peft_model, state)
    return peft_model


def test_injection_by_the_names_of_a_state(bert):
    told = {
        name.removeprefix("base_model.model."): t
        for name, t in get_peft_model_state_dict(adapted(bert.model())).items()
    }
    told = {name: tensor for name, tensor in told.items() if ".layer.2." in name}
    with pytest.warns(RuntimeWarning, match="these additional target modules"):
        model = inject_adapter_in_model(SparseGradConfig(kept=0.1), bert.model(), state_dict=told)
    assert set(layers_of(model)) == {name.rsplit(".", 1)[0] for name in told}
    assert len(layers_of(model)) == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_models(dtype, architectures, tmp_path):
    llama = architectures["llama"]
    model, batch = adapted(llama.model(dtype=dtype)), llama.batch()
    with torch.no_grad():  # what fp32 holds and the model's dtype does not
        for layer in layers_of(model).values():
            layer.sparsegrad_values["default"].add_(1e-5)
    model(**batch).loss.backward()
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    assert {t.dtype for name, t in tensors.items() if "values" in name} == {torch.float32}
    assert {t.dtype for name, t in tensors.items() if name.endswith(("_u", "_v"))} == {dtype}
    for low_cpu in (False, True):
        again = PeftModel.from_pretrained(llama.model(dtype=dtype), tmp_path, low_cpu_mem_usage=low_cpu)
        same_state(model, again)
        assert torch.equal(logits(again, batch), logits(model, batch))
    for widened in (True, False):
        again.load_adapter(tmp_path, f"loaded {widened}", autocast_adapter_dtype=widened)
        held = {layer.sparsegrad_values[f"loaded {widened}"].dtype for layer in layers_of(again).values()}
        assert held == {torch.float32 if widened else dtype}
    assert model.merge_and_unload().dtype == dtype


def test_a_fp16_model_made_whole_in_fp16_merges(bert):
    model = adapted(bert.model()).to(torch.float16)
    merged = model.merge_and_unload()
    assert {p.dtype for p in merged.parameters()} == {torch.float16}


def test_copies_and_pickles(bert):
    model, batch = adapted(bert.model()), bert.batch()
    before = logits(model, batch)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        same_state(model, twin)
        assert torch.equal(logits(twin, batch), before)
        with torch.no_grad():
            for layer in layers_of(twin).values():
                layer.sparsegrad_values["default"].zero_()
        assert torch.equal(logits(model, batch), before) and not torch.allclose(logits(twin, batch), before)


def test_the_state_of_one_model_goes_into_another(bert, tmp_path):
    model, batch = adapted(bert.model()), bert.batch()
    save_file(get_peft_model_state_dict(model), tmp_path / "state.safetensors")
    other = adapted(bert.model(), seed=9)
    assert not torch.allclose(logits(other, batch), logits(model, batch))
    result: Any = set_peft_model_state_dict(other, load_file(tmp_path / "state.safetensors"))
    assert not result.unexpected_keys
    assert torch.equal(logits(other, batch), logits(model, batch))
