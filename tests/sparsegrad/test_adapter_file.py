"""The adapter file of a compact model: the same function on the same base; else it is told and nothing is changed."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from sparsegrad import (
    BasesMismatch,
    CompactLinear,
    SparseGradError,
    SparseGradOptimizer,
    calibrate,
    convert,
    load,
    save,
)

FILE = "sparsegrad_adapter.safetensors"
KEPT = 13


def trained(arch, *, basis="per-block", dtype=torch.float32, steps=2):
    """A compact model and its head, some steps from its base."""
    model = arch.model(dtype=dtype).requires_grad_(False)
    for name, p in model.named_parameters():
        p.requires_grad_(name.startswith("classifier"))
    bases = calibrate(model, arch.batches(2), 2, basis=basis, kept=KEPT)
    convert(model, bases, kept=KEPT, support="fixed")
    optimizer = SparseGradOptimizer([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for seed in range(steps):
        model(**arch.batch(seed)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def everything(model):
    return [(name, id(m)) for name, m in model.named_modules()], [p.detach().clone() for p in model.parameters()]


def assert_unchanged(model, before):
    names, weights = everything(model)
    assert names == before[0]
    assert all(torch.equal(p, q) for p, q in zip(weights, before[1], strict=True))


@pytest.mark.parametrize("basis", ["shared", "per-block"])
def test_a_loaded_model_is_the_saved_one(arch, basis, tmp_path):
    model = trained(arch, basis=basis, dtype=torch.float64)
    assert save(model, tmp_path / "new") == tmp_path / "new" / FILE
    assert [path.name for path in (tmp_path / "new").iterdir()] == [FILE]
    fresh = arch.model(dtype=torch.float64)
    assert load(fresh, tmp_path / "new") is fresh
    layers, again = ({n: m for n, m in each.named_modules() if isinstance(m, CompactLinear)} for each in (model, fresh))
    assert layers.keys() == again.keys() and layers
    for name, layer in layers.items():
        assert torch.equal(layer.values, again[name].values) and torch.equal(layer.places, again[name].places)
        assert torch.equal(layer.slices.u, again[name].slices.u) and torch.equal(layer.slices.v, again[name].slices.v)
        assert layer.values.abs().min() > 0, "or nothing was learned that could be lost"
    assert len({id(m.slices) for m in again.values()}) == len({id(m.slices) for m in layers.values()})
    with torch.no_grad():
        batch = arch.batch(9)
        torch.testing.assert_close(fresh(**batch).logits, model(**batch).logits, rtol=0, atol=1e-10)


def test_half_rounds_the_slices_alone(bert, tmp_path):
    model = trained(bert)
    whole, half = (load_file(save(model, tmp_path / str(half), half=half)) for half in (False, True))
    assert whole.keys() == half.keys()
    for name, tensor in whole.items():
        assert torch.equal(half[name], tensor.half() if name.startswith("slices/") else tensor)
    fresh = load(bert.model(), tmp_path / "True")
    with torch.no_grad():
        torch.testing.assert_close(fresh(**bert.batch()).logits, model(**bert.batch()).logits, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "damage", ["empty", "truncated", "cut in the header", "foreign", "text", "no layers", "no values", "far places"]
)
def test_a_bad_file_is_told_and_changes_nothing(bert, tmp_path, damage):
    path = save(trained(bert), tmp_path)
    whole, tensors = path.read_bytes(), load_file(path)
    header = {
        "sparsegrad": json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])["__metadata__"]["sparsegrad"]
    }
    layer = "bert.encoder.layer.1.output.dense"
    match damage:
        case "empty" | "truncated" | "cut in the header":
            path.write_bytes(whole[: {"empty": 0, "truncated": len(whole) - 9, "cut in the header": 50}[damage]])
        case "foreign":
            save_file(tensors, path)
        case "text":
            path.write_text("not an adapter")
        case "no layers":
            save_file(tensors, path, {"sparsegrad": json.dumps({"format": 1})})
        case "no values":
            save_file({name: t for name, t in tensors.items() if name != f"values/{layer}"}, path, header)
        case "far places":
            save_file({**tensors, f"places/{layer}": tensors[f"places/{layer}"] + 10**6}, path, header)
    model = bert.model()
    before = everything(model)
    with pytest.raises(BasesMismatch, match=FILE):
        load(model, tmp_path)
    assert_unchanged(model, before)


def test_another_base_is_told_and_changes_nothing(architectures, tmp_path):
    """The weights are not in the file: on others the adapter would be noise."""
    from transformers import BertConfig, BertForSequenceClassification

    bert = architectures["bert"]
    save(trained(bert), tmp_path)
    options = bert.model().config.to_dict()
    three = {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        other_head = BertForSequenceClassification(BertConfig(**{**options, **three}))
    for model, told in (
        (bert.model(seed=1), "trained on other weights"),
        (architectures["gpt2"].model(), "no such linear"),
        (BertForSequenceClassification(BertConfig(**{**options, "intermediate_size": 48})), "here it is"),
        (
            BertForSequenceClassification(BertConfig(**{**options, "num_hidden_layers": 3})),
            "no such linear|other weights",
        ),
        (other_head, "classifier.*in BertForSequenceClassification|other weights"),
    ):
        before = everything(model)
        with pytest.raises(BasesMismatch, match=told):
            load(model, tmp_path)
        assert_unchanged(model, before)


def test_a_later_format_and_a_folder_of_both_kinds_are_told(bert, converted, tmp_path):
    path = save(trained(bert, steps=0), tmp_path)
    save(converted(bert, dtype=torch.float32), tmp_path)
    with pytest.raises(SparseGradError, match=f"sparsegrad.safetensors and {FILE}: move one"):
        load(bert.model(), tmp_path)
    (tmp_path / "sparsegrad.safetensors").unlink()
    with pytest.raises(SparseGradError, match="converted already"):
        load(converted(bert, dtype=torch.float32), tmp_path)
    save_file(load_file(path), path, {"sparsegrad": json.dumps({"format": 99, "layers": {}})})
    with pytest.raises(BasesMismatch, match="adapter of format 99, this version reads 1"):
        load(bert.model(), tmp_path)


def test_an_interrupted_write_leaves_the_old_file(bert, tmp_path, monkeypatch):
    model = trained(bert, steps=0)
    path = save(model, tmp_path)
    old = path.read_bytes()

    def killed(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", killed)
    with torch.no_grad():
        next(p for p in model.parameters() if p.requires_grad).add_(1)
    with pytest.raises(KeyboardInterrupt):
        save(model, tmp_path)
    assert path.read_bytes() == old and list(tmp_path.iterdir()) == [path]
