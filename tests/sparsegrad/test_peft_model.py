"""The tuner on every architecture: what PEFT promises of any of its methods."""

import copy
import json
import warnings

import pytest
import torch
from peft import (
    PeftModel,
    convert_to_lora,
    get_peft_model,
    prepare_model_for_kbit_training,
    set_peft_model_state_dict,
)
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file

from sparsegrad.roles import find_targets
from tests.sparsegrad.peft_case import DEPRECATED_NAMES, adapted, layers_of, logits, same_state

pytestmark = DEPRECATED_NAMES
PREFIX = "sparsegrad_"


def test_without_names_the_mlp_linears_are_adapted(arch):
    model = arch.model()
    names = {target.name for target in find_targets(model)}
    peft_model = adapted(model)
    assert {name.removeprefix("base_model.model.") for name in layers_of(peft_model)} == names
    assert set(peft_model.targeted_module_names) == names


def test_a_new_adapter_changes_nothing_and_a_disabled_one_is_not_there(arch):
    model, batch = arch.model().requires_grad_(False), arch.batch()
    before = logits(model, batch)
    assert torch.equal(logits(adapted(copy.deepcopy(model), init_weights=True), batch), before)
    peft_model = adapted(model)
    with_adapter = logits(peft_model, batch)
    assert not torch.allclose(with_adapter, before)
    with peft_model.disable_adapter():
        assert torch.equal(logits(peft_model, batch), before)
    assert torch.equal(logits(peft_model, batch), with_adapter)
    unloaded = peft_model.unload()
    assert torch.equal(logits(unloaded, batch), before)
    assert not layers_of(unloaded) and not hasattr(unloaded, "peft_config")


def test_values_alone_train(arch):
    model, batch = adapted(arch.model()), arch.batch()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    slots = {name: b.clone() for name, b in model.named_buffers()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    for name, p in model.named_parameters():
        trains = "sparsegrad_values" in name
        assert p.requires_grad is trains and (p.grad is not None) is trains
        assert torch.equal(p, before[name]) is not trains
    assert all(torch.equal(b, slots[name]) for name, b in model.named_buffers())
    values = sum(p.numel() for name, p in model.named_parameters() if "sparsegrad_values" in name)
    assert model.get_nb_trainable_parameters() == (values, sum(p.numel() for p in model.parameters()))


def test_the_adapter_comes_back_from_its_file(arch, tmp_path):
    model, batch = adapted(arch.model(), kept=0.2, seed=4), arch.batch()
    model.save_pretrained(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "SPARSEGRAD"
    assert "library_name: peft" in (tmp_path / "README.md").read_text()
    for low_cpu in (False, True):
        again = PeftModel.from_pretrained(arch.model(), tmp_path, low_cpu_mem_usage=low_cpu)
        same_state(model, again)
        assert torch.equal(logits(again, batch), logits(model, batch))
        assert again.peft_config["default"].inference_mode
        assert not any(p.requires_grad for p in again.parameters())
        assert {p.device.type for p in (*again.parameters(), *again.buffers())} == {"cpu"}
        trains = PeftModel.from_pretrained(arch.model(), tmp_path, low_cpu_mem_usage=low_cpu, is_trainable=True)
        assert {n.split(".")[-2] for n, p in trains.named_parameters() if p.requires_grad} == {"sparsegrad_values"}


def test_what_is_in_the_file(arch, tmp_path):
    model = adapted(arch.model(), core=(8, 6), kept=20)
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    expected: dict[str, tuple[int, ...]] = {}
    for name, layer in layers_of(model).items():
        shapes = {"values": (20,), "indices": (20,), "u": (6, layer.in_features), "v": (8, layer.out_features)}
        expected |= {f"{name}.{PREFIX}{part}": shape for part, shape in shapes.items()}
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == expected
    for name, tensor in tensors.items():
        assert tensor.dtype == (torch.int32 if "indices" in name else torch.float32)
    for layer in layers_of(model).values():
        places = layer.sparsegrad_indices["default"]
        assert (places.diff() > 0).all() and places.min() >= 0 and places.max() < 48
        for slices in (layer.sparsegrad_u["default"], layer.sparsegrad_v["default"]):
            torch.testing.assert_close(slices @ slices.T, torch.eye(len(slices)))


def test_merging_is_the_same_function(arch, tmp_path):
    model, batch = adapted(arch.model(dtype=torch.float64)), arch.batch()
    before, state = logits(model, batch), copy.deepcopy(model.state_dict())
    model.merge_adapter()
    torch.testing.assert_close(logits(model, batch), before)
    with pytest.warns(UserWarning, match="All adapters are already merged"):
        model.merge_adapter()
    torch.testing.assert_close(logits(model, batch), before)
    model.unmerge_adapter()
    torch.testing.assert_close(logits(model, batch), before)
    torch.testing.assert_close(dict(model.state_dict()), dict(state))
    merged = model.merge_and_unload(safe_merge=True)
    assert not any(isinstance(module, BaseTunerLayer) for module in merged.modules())
    assert not hasattr(merged, "peft_config")
    torch.testing.assert_close(logits(merged, batch), before)
    merged.save_pretrained(tmp_path)
    again = type(merged).from_pretrained(tmp_path, dtype=torch.float64).eval()
    torch.testing.assert_close(logits(again, batch), before)


def test_what_peft_says_of_the_model(bert, capsys):
    model = adapted(bert.model())
    status = model.get_model_status()
    assert (status.peft_types, status.adapter_model_type) == ({"default": "SPARSEGRAD"}, "SparseGradModel")
    assert status.num_adapter_layers == 8 and status.requires_grad == {"default": True}
    assert status.trainable_params == model.get_nb_trainable_parameters()[0]
    assert all(layer.devices == {"default": ["cpu"]} for layer in model.get_layer_status())
    model.print_trainable_parameters()
    assert f"trainable params: {status.trainable_params} " in capsys.readouterr().out.replace(",", "")
    assert "sparsegrad.SparseGradTunerLinear" in repr(model)


def test_an_adapter_for_inference_does_not_train(bert):
    model = adapted(bert.model(), inference_mode=True)
    assert not any(p.requires_grad for p in model.parameters())
    model.set_adapter("default")
    assert {n.split(".")[-2] for n, p in model.named_parameters() if p.requires_grad} == {"sparsegrad_values"}


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_safe_merge_refuses_a_broken_adapter_and_touches_nothing(bert, broken):
    model = adapted(bert.model())
    weights = {name: layer.base_layer.weight.clone() for name, layer in layers_of(model).items()}
    with torch.no_grad():
        for layer in layers_of(model).values():
            layer.sparsegrad_values["default"][0] = broken
    with pytest.raises(
        ValueError, match=r"NaNs detected in the merged weights\. The adapter default seems to be broken"
    ):
        model.merge_adapter(safe_merge=True)
    for name, layer in layers_of(model).items():
        assert torch.equal(layer.base_layer.weight, weights[name]) and not layer.merged


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradients_are_the_same_under_checkpointing(arch, reentrant):
    model, batch = adapted(arch.model(dtype=torch.float64)), arch.batch()
    if not model.supports_gradient_checkpointing:
        pytest.skip(f"{arch.name} has no gradient checkpointing")
    model.train()
    model(**batch).loss.backward()
    told = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model.prepare_model_for_gradient_checkpointing(model)
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model(**batch).loss.backward()
    again = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert told.keys() == again.keys() and all("sparsegrad_values" in name for name in told)
    torch.testing.assert_close(again, told)


def test_further_modules_train_and_are_saved(bert, tmp_path):
    model, batch = adapted(bert.model(), modules_to_save=["classifier"]), bert.batch()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model(**batch).loss.backward()
    optimizer.step()
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    assert all("sparsegrad_values" in name or ".modules_to_save.default." in name for name in trained)
    assert any("classifier" in name for name in trained)
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(bert.model(seed=0), tmp_path)
    assert torch.equal(logits(again, batch), logits(model, batch))


def test_task_types(bert, architectures, tmp_path):
    classifier = adapted(bert.model(), task_type="SEQ_CLS")
    assert classifier.peft_config["default"].modules_to_save == ["classifier", "score"]
    assert logits(classifier, bert.batch()).shape == (3, 2)
    llama = architectures["llama"]
    model = adapted(llama.model(), task_type="CAUSAL_LM")
    batch = {name: tensor for name, tensor in llama.batch().items() if name != "labels"}
    assert model.generate(**batch, max_new_tokens=3).shape == (3, 12)
    t5 = architectures["t5"]
    assert adapted(t5.model(), task_type="SEQ_2_SEQ_LM").generate(**batch, max_new_tokens=3).shape[0] == 3


def test_the_embeddings_output_requires_grad_when_asked(bert):
    model, ids = adapted(bert.model()), bert.batch()["input_ids"]
    assert not model.get_input_embeddings()(ids).requires_grad
    base = prepare_model_for_kbit_training(bert.model())
    assert not any(p.requires_grad for p in base.parameters())
    model = adapted(base)
    model.enable_input_require_grads()
    assert model.get_input_embeddings()(ids).requires_grad


def test_a_lora_of_full_rank_is_the_same_function(bert):
    model, batch = adapted(bert.model(), kept=8, core=(4, 4)), bert.batch()
    assert model.supports_lora_conversion()
    before = logits(model, batch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other PEFT parts
        config, state = convert_to_lora(model, rank=4)
        lora = get_peft_model(bert.model(), config).eval()
        set_peft_model_state_dict(lora, state)
    torch.testing.assert_close(logits(lora, batch), before, rtol=1e-4, atol=1e-5)
