"""An adapter from calibrated bases: the compact layers of ``convert``, as PEFT carries them."""

import json
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file

import sparsegrad
from sparsegrad.errors import BasesMismatch, SparseGradError
from sparsegrad.peft import SparseGradConfig, SparseGradTunerLinear

# PEFT asks transformers by a name that transformers 5 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
KEPT = 40


def calibrated(arch, path, **options):
    """The file of bases of an architecture's model, calibrated on itself."""
    options = {"basis": "per-block", "kept": KEPT, **options}
    bases = sparsegrad.calibrate(arch.model(), arch.batches(2), steps=2, **options)
    return str(bases.save(path / "bases.safetensors")), bases


def layers_of(model):
    return {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if isinstance(module, SparseGradTunerLinear)
    }


def trained(model, parameters, batches):
    optimizer = torch.optim.AdamW(parameters, lr=0.01)
    losses = []
    for batch in batches:
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses)


@pytest.mark.parametrize("basis", ["shared", "per-block"])
def test_it_is_the_compact_mode_of_convert(arch, basis, tmp_path):
    path, bases = calibrated(arch, tmp_path, basis=basis)
    compact = sparsegrad.convert(arch.model(), bases, kept=KEPT, support="fixed", execution="additive")
    model = get_peft_model(arch.model(), SparseGradConfig(bases=path, kept=KEPT)).eval()
    ours = layers_of(model)
    assert set(ours) == set(bases.layers)
    values = []
    for name, layer in ours.items():
        converted: Any = compact.get_submodule(name)
        assert torch.equal(layer.sparsegrad_indices["default"], converted.places)
        assert torch.equal(layer.sparsegrad_u["default"], converted.slices.u)
        assert torch.equal(layer.sparsegrad_v["default"], converted.slices.v)
        values.append(converted.values)
    for p in compact.parameters():
        p.requires_grad_(any(p is value for value in values))
    batches = arch.batches(4)
    told = trained(compact, values, batches)
    again = trained(model, [p for p in model.parameters() if p.requires_grad], batches)
    torch.testing.assert_close(again, told, rtol=1e-5, atol=1e-6)
    for name, layer in ours.items():
        learned = layer.sparsegrad_values["default"]
        torch.testing.assert_close(learned, compact.get_submodule(name).values, rtol=1e-3, atol=1e-5)


def test_a_saved_adapter_needs_no_bases(bert, tmp_path):
    path, _ = calibrated(bert, tmp_path)
    model = get_peft_model(bert.model(), SparseGradConfig(bases=path, kept=KEPT)).eval()
    trained(model, [p for p in model.parameters() if p.requires_grad], bert.batches(2))
    model.save_pretrained(tmp_path / "adapter")
    (tmp_path / "bases.safetensors").unlink()
    told = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert "bases" not in told and str(tmp_path) not in json.dumps(told)
    again = PeftModel.from_pretrained(bert.model(), tmp_path / "adapter")
    batch = bert.batch()
    assert torch.equal(again(**batch).logits, model(**batch).logits)
    assert again.state_dict().keys() == model.state_dict().keys()
    size = (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size
    tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert size < sum(t.numel() * t.element_size() for t in tensors.values()) + 8192


def test_a_second_adapter_from_the_bases(bert, tmp_path):
    path, bases = calibrated(bert, tmp_path)
    model = get_peft_model(bert.model(), SparseGradConfig())
    model.add_adapter("calibrated", SparseGradConfig(bases=path, kept=KEPT))
    assert {name for name, layer in layers_of(model).items() if "calibrated" in layer.sparsegrad_u} == set(bases.layers)


def test_the_linears_of_the_bases_are_the_default(bert, tmp_path):
    path, bases = calibrated(bert, tmp_path, targets="attention.self.query", every=2)
    assert len(bases.layers) == 2
    model = get_peft_model(bert.model(), SparseGradConfig(bases=path, kept=KEPT))
    assert set(layers_of(model)) == set(bases.layers)


def test_some_of_the_linears_of_the_bases(bert, tmp_path):
    path, _ = calibrated(bert, tmp_path)
    some = SparseGradConfig(bases=path, kept=KEPT, layers_to_transform=[1])
    names = set(layers_of(get_peft_model(bert.model(), some)))
    assert names == {"bert.encoder.layer.1.intermediate.dense", "bert.encoder.layer.1.output.dense"}


def test_half_precision_layers_hold_the_bases_rounded(bert, tmp_path):
    path, bases = calibrated(bert, tmp_path)
    # The model of bf16 weights is known again: fingerprints are read in bf16.
    model = get_peft_model(bert.model(dtype=torch.bfloat16), SparseGradConfig(bases=path, kept=KEPT))
    for name, layer in layers_of(model).items():
        u = layer.sparsegrad_u["default"]
        assert torch.equal(u, bases.table[name].u[: len(u)].float().bfloat16())
        assert layer.sparsegrad_values["default"].dtype == torch.float32


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no file": ({"bases": "/nowhere/bases.safetensors"}, BasesMismatch, "no file /nowhere/bases.safetensors"),
    "another model": ({"seed_of_model": 1}, BasesMismatch, "calibrated on other weights"),
    "a larger core": ({"core": (16, 40)}, SparseGradError, "does not fit|hold a core of"),
    "more entries than the bases' core": ({"kept": 600}, SparseGradError, "do not fit|hold a core of"),
    "a linear without a basis": ({"target_modules": ["query"]}, BasesMismatch, "no basis for bert.encoder.layer.0"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_bases_that_do_not_fit_change_nothing(case, bert, tmp_path):
    options, error, said = REFUSED[case]
    options = dict(options)
    path, _ = calibrated(bert, tmp_path, core=(8, 8))
    model = bert.model(seed=options.pop("seed_of_model", 0))
    modules = list(model.modules())
    with pytest.raises(error, match=said) as raised:
        get_peft_model(model, SparseGradConfig(**{"bases": path, "kept": KEPT, "core": (8, 8), **options}))
    assert "\n" not in str(raised.value) and list(model.modules()) == modules


def test_bases_without_energies_are_refused(bert, tmp_path):
    path = sparsegrad.calibrate(bert.model(), bert.batches(1), steps=1).save(tmp_path / "bases.safetensors")
    with pytest.raises(BasesMismatch, match="energies"):
        get_peft_model(bert.model(), SparseGradConfig(bases=str(path), kept=KEPT))
