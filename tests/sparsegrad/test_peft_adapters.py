"""Several adapters in one model: added, switched, merged together, saved apart, and deleted."""

import copy
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file
from torch import nn

from sparsegrad.peft import SparseGradConfig, SparseGradTunerLinear
from tests.sparsegrad.peft_case import DEPRECATED_NAMES, logits

pytestmark = DEPRECATED_NAMES


def config(**options: Any) -> SparseGradConfig:
    return SparseGradConfig(**{"kept": 0.1, "init_weights": False, **options})


def layers_of(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, SparseGradTunerLinear)]


@pytest.fixture(params=["bert", "gpt2"])
def pair(request, architectures):
    """A float64 model with adapters ``default`` (active) and ``other`` in another core, a batch, each one's output."""
    arch = architectures[request.param]
    model = get_peft_model(arch.model(dtype=torch.float64), config()).eval()
    model.add_adapter("other", config(seed=1, core=(10, 12), kept=33))
    batch, outputs = arch.batch(), {}
    for name in ("other", "default"):
        model.set_adapter(name)
        outputs[name] = logits(model, batch)
    return model, batch, outputs


def test_each_adapter_is_its_own(pair):
    model, batch, outputs = pair
    assert not torch.allclose(outputs["default"], outputs["other"])
    for name in ("other", "default", "other"):
        model.set_adapter(name)
        assert model.active_adapters == [name]
        assert torch.equal(logits(model, batch), outputs[name])
        trains = {n.split(".")[-1] for n, p in model.named_parameters() if p.requires_grad}
        assert trains == {name}


def test_an_added_adapter_waits_until_it_is_active(pair):
    model, batch, outputs = pair
    model.add_adapter("third", config())
    assert torch.equal(logits(model, batch), outputs["default"])
    assert not any(layer.sparsegrad_values["third"].requires_grad for layer in layers_of(model))
    with pytest.raises(ValueError, match="already exists"):
        model.add_adapter("third", config())


def test_adapters_on_different_layers(bert):
    model = get_peft_model(bert.model(), config(layers_to_transform=[0, 1])).eval()
    before = logits(model, bert.batch())
    model.add_adapter("other", config(layers_to_transform=[1, 2], seed=1))
    assert torch.equal(logits(model, bert.batch()), before)
    held = [sorted(layer.sparsegrad_values) for layer in layers_of(model)]
    assert held == [["default"]] * 2 + [["default", "other"]] * 2 + [["other"]] * 2
    model.set_adapter("other")
    merged = copy.deepcopy(model).merge_and_unload()
    torch.testing.assert_close(logits(merged, bert.batch()), logits(model, bert.batch()), rtol=1e-5, atol=1e-6)


def test_all_linears_for_a_second_adapter(bert):
    model = get_peft_model(bert.model(), config())
    model.add_adapter("other", config(target_modules="all-linear", task_type="SEQ_CLS"))
    layers = layers_of(model)
    assert len(layers) == 4 * 6 + 1 and all("other" in layer.sparsegrad_values for layer in layers)
    assert not any(isinstance(layer.base_layer, SparseGradTunerLinear) for layer in layers)


def test_merging_named_adapters(pair):
    model, batch, outputs = pair
    for name in ("default", "other"):
        merged = copy.deepcopy(model).merge_and_unload(adapter_names=[name], safe_merge=True)
        torch.testing.assert_close(logits(merged, batch), outputs[name])
    together = copy.deepcopy(model)
    together.base_model.set_adapter(["default", "other"])
    expected = logits(together, batch)
    merged = copy.deepcopy(model).merge_and_unload(adapter_names=["other", "default"])
    torch.testing.assert_close(logits(merged, batch), expected)
    model.merge_adapter(adapter_names=["default"])
    with pytest.warns(UserWarning, match="additionally merging other"):
        model.merge_adapter(adapter_names=["default", "other"])
    torch.testing.assert_close(logits(model, batch), expected)
    model.unmerge_adapter()
    torch.testing.assert_close(logits(model, batch), outputs["default"])
    with pytest.raises(TypeError, match="list of strings"):
        model.merge_adapter(adapter_names="default")


def test_disabling_unmerges(pair):
    model, batch, outputs = pair
    weights = [(layer, layer.base_layer.weight.clone()) for layer in layers_of(model)]
    with model.disable_adapter():
        base = logits(model, batch)
    model.merge_adapter()
    with model.disable_adapter():
        torch.testing.assert_close(logits(model, batch), base)
    for layer, weight in weights:
        assert not layer.merged
        torch.testing.assert_close(layer.base_layer.weight, weight)
    torch.testing.assert_close(logits(model, batch), outputs["default"])


def test_setting_another_adapter_unmerges_first(pair):
    model, batch, outputs = pair
    model.merge_adapter()
    with pytest.warns(UserWarning, match="Unmerging the model first"):
        model.set_adapter("other")
    torch.testing.assert_close(logits(model, batch), outputs["other"])


@pytest.mark.parametrize("active", [True, False])
def test_deleting_an_adapter(pair, active):
    model, batch, outputs = pair
    gone, stays = ("default", "other") if active else ("other", "default")
    if active:
        with pytest.warns(UserWarning, match="Setting active adapter to other"):
            model.delete_adapter(gone)
    else:
        model.delete_adapter(gone)
    assert list(model.peft_config) == [stays] and model.active_adapters == [stays]
    for layer in layers_of(model):
        for attribute in (*layer.adapter_layer_names, *layer.other_param_names):
            assert gone not in getattr(layer, attribute) and stays in getattr(layer, attribute)
    assert not any(name.endswith(f".{gone}") for name in model.state_dict())
    assert torch.equal(logits(model, batch), outputs[stays])
    model.delete_adapter(stays)
    assert not model.peft_config and model.active_adapters == []
    model.base_model(**batch)


def test_what_cannot_be_deleted(pair):
    model, _, _ = pair
    with pytest.raises(ValueError, match="Adapter unknown does not exist"):
        model.delete_adapter("unknown")
    model.merge_adapter()
    with pytest.raises(ValueError, match="while they are merged"):
        model.delete_adapter("default")


def test_saving_all_and_some(pair, tmp_path):
    model, batch, outputs = pair
    model.save_pretrained(tmp_path)
    base = copy.deepcopy(model).unload()
    again = PeftModel.from_pretrained(base, tmp_path)
    result = again.load_adapter(tmp_path / "other", "other")
    assert result.missing_keys == [] and result.unexpected_keys == []
    assert again.state_dict().keys() == model.state_dict().keys()
    for name in ("other", "default"):
        again.set_adapter(name)
        assert torch.equal(logits(again, batch), outputs[name])
    model.save_pretrained(tmp_path / "some", selected_adapters=["other"])
    assert [file.name for file in (tmp_path / "some").iterdir() if file.is_dir()] == ["other"]


def test_an_adapter_loaded_under_another_name(pair, tmp_path):
    model, batch, outputs = pair
    model.save_pretrained(tmp_path)
    for low_cpu in (False, True):
        name = f"renamed-{low_cpu}"
        result = model.load_adapter(tmp_path / "other", name, low_cpu_mem_usage=low_cpu)
        assert result.missing_keys == []
        assert torch.equal(logits(model, batch), outputs["default"])
        model.set_adapter(name)
        # Not to the bit: a tensor read from the file may lie at another alignment.
        torch.testing.assert_close(logits(model, batch), outputs["other"], rtol=1e-12, atol=1e-12)
        model.set_adapter("default")


@pytest.mark.parametrize("other", ["default2", "other_default", "foodefault_bar", "efaul", "u", "v"])
def test_names_that_hold_one_another_are_told_apart(bert, other, tmp_path):
    model = get_peft_model(bert.model(), config()).eval()
    before = logits(model, bert.batch())
    told = get_peft_model_state_dict(model)
    with pytest.warns() if other in "sparsegrad_" else nullcontext():
        model.add_adapter(other, config(seed=1))
    model.save_pretrained(tmp_path, selected_adapters=["default"])
    assert load_file(tmp_path / "adapter_model.safetensors").keys() == told.keys()
    again = PeftModel.from_pretrained(bert.model(), tmp_path)
    assert torch.equal(logits(again, bert.batch()), before)


def test_training_one_adapter_leaves_the_other(pair):
    model, batch, _ = pair
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model.set_adapter("other")
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model(**batch).loss.backward()
    optimizer.step()
    changed = {name.split(".")[-1] for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"other"}


def test_gradients_can_be_asked_of_a_named_adapter(pair):
    model, _, _ = pair
    model.set_requires_grad("other")
    model.set_requires_grad("default", requires_grad=False)
    assert {n.split(".")[-1] for n, p in model.named_parameters() if p.requires_grad} == {"other"}


def test_what_the_tuner_does_not_offer(pair):
    model, batch, _ = pair
    for call in (model, model.generate if model.can_generate() else model):
        with pytest.raises(ValueError, match=r"adapter_names: SparseGrad has no mixed batches.*set_adapter"):
            call(**batch, adapter_names=["default", "other", "default"])
    with pytest.raises(AttributeError, match="add_weighted_adapter"):
        model.add_weighted_adapter(["default", "other"], [0.5, 0.5], "both")
    with pytest.raises(ValueError, match="SPARSEGRAD"):
        get_peft_model(copy.deepcopy(model).unload(), config(), mixed=True)


def test_training_goes_on_after_an_unmerge_in_inference_mode(pair):
    """Disabling unmerges; a base weight made in inference mode would be refused by autograd for good."""
    model, batch, outputs = pair
    model.merge_adapter()
    with torch.inference_mode(), model.disable_adapter():
        model(**batch)
    model(**batch).loss.backward()
    torch.testing.assert_close(logits(model, batch), outputs["default"], rtol=1e-9, atol=1e-9)
