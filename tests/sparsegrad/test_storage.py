"""save and load: the same model in a new process; whatever is wrong with the file or the model changes nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sparsegrad import (
    BasesMismatch,
    Rotation,
    SparseGradError,
    SparseGradLinear,
    SparseGradOptimizer,
    calibrate,
    convert,
    load,
    save,
)

FILE = "sparsegrad.safetensors"
ROOT = Path(__file__).parents[2]


def trained(converted, arch=None, **options):
    """A converted model three steps from where its bases were made."""
    model = converted(arch, **{"kept": 0.05, "dtype": torch.float32, **options})
    optimizer = SparseGradOptimizer(model.parameters(), lr=1e-2)
    return model, optimizer


def step(model, optimizer, batch):
    optimizer.zero_grad()
    model(**batch).loss.backward()
    optimizer.step()


def everything(model):
    return [(name, id(m)) for name, m in model.named_modules()], [p.detach().clone() for p in model.parameters()]


def assert_unchanged(model, before):
    names, weights = everything(model)
    assert names == before[0]
    assert all(torch.equal(p, q) for p, q in zip(weights, before[1], strict=True))


def test_a_loaded_model_is_the_saved_one_and_trains_on_alike(arch, converted, tmp_path):
    """Tied weights (T5, GPT-2's head) stay tied."""
    model, optimizer = trained(converted, arch)
    for seed in range(2):
        step(model, optimizer, arch.batch(seed))
    assert save(model, tmp_path / "new") == tmp_path / "new" / FILE
    fresh = arch.model(seed=5)
    ties = len(list(fresh.parameters()))
    assert load(fresh, tmp_path / "new") is fresh
    assert len(list(fresh.parameters())) == ties == len(list(model.parameters()))
    for (name, tensor), (other, again) in zip(model.state_dict().items(), fresh.state_dict().items(), strict=True):
        assert name == other and torch.equal(tensor, again)
    batch = arch.batch(9)
    assert torch.equal(model(**batch).logits, fresh(**batch).logits)
    model.zero_grad()
    for each in (model, fresh):
        each(**batch).loss.backward()
    for p, q in zip(model.parameters(), fresh.parameters(), strict=True):
        assert p.requires_grad == q.requires_grad
        assert (p.grad is None) == (q.grad is None)
        if p.grad is not None and q.grad is not None:
            assert torch.equal(p.grad.to_dense(), q.grad.to_dense())


SCRIPT = """
import importlib.util, sys, torch
import sparsegrad
spec = importlib.util.spec_from_file_location("registry", sys.argv[1])
registry = importlib.util.module_from_spec(spec)
sys.modules["registry"] = registry
spec.loader.exec_module(registry)
for place in sys.argv[3:]:
    name, seed = place.split("/")
    arch = registry.ARCHITECTURES[name]
    model = sparsegrad.load(arch.model(seed=int(seed)), f"{sys.argv[2]}/{place}")
    torch.save(model(**arch.batch(9)).logits, f"{sys.argv[2]}/{place}/logits.pt")
"""


def test_a_new_process_gives_identical_outputs(architectures, converted, tmp_path):
    """Into other weights; of a compact model (bert/0), whose file is an adapter, on the same ones."""
    models = {}
    for name in ("bert", "gpt2", "t5", "llama"):
        models[f"{name}/7"], optimizer = trained(converted, architectures[name])
        step(models[f"{name}/7"], optimizer, architectures[name].batch())
        save(models[f"{name}/7"], tmp_path / name / "7")
    bert = architectures["bert"]
    compact = convert(bert.model(), calibrate(bert.model(), bert.batches(2), 2, kept=7), kept=7, support="fixed")
    step(compact, SparseGradOptimizer([p for p in compact.parameters() if p.requires_grad], lr=1e-2), bert.batch())
    save(compact, tmp_path / "bert/0")
    models["bert/0"] = load(bert.model(), tmp_path / "bert/0")
    here = str(Path(__file__).with_name("conftest.py"))
    subprocess.run([sys.executable, "-c", SCRIPT, here, str(tmp_path), *models], check=True, cwd=ROOT)
    for place, model in models.items():
        there = torch.load(tmp_path / place / "logits.pt")
        assert torch.equal(there, model(**architectures[place.split("/")[0]].batch(9)).logits)


@pytest.mark.parametrize("made_in", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("load_in", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_any_precision_into_any_other(bert, converted, tmp_path, made_in, load_in):
    """Converted in fp32, saved in one dtype, loaded into a model of another."""
    model, _ = trained(converted)
    save(model.to(made_in), tmp_path)
    fresh = load(bert.model(dtype=load_in, seed=5), tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], tensor.to(fresh.state_dict()[name].dtype))


def test_options_and_sharing_come_back(bert, converted, tmp_path):
    model, _ = trained(converted, kept=7, execution="regular", accumulate=False)
    save(model, tmp_path)
    layers = [m for m in load(bert.model(), tmp_path).modules() if isinstance(m, SparseGradLinear)]
    assert {(m.kept, m.execution, m.accumulate) for m in layers} == {(7, "regular", False)}
    assert len({id(m.rotation) for m in layers}) == 2


def test_one_matrix_in_two_places_can_be_saved(tmp_path, rotation):
    """A pair whose U is its V, and two pairs that share U."""
    u = rotation(6, 6, dtype=torch.float32).u
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    for at, pair in enumerate((Rotation(u, u), Rotation(u, None))):
        model[at] = SparseGradLinear.from_linear(model[at], pair, kept=3)
    save(model, tmp_path)
    fresh, x = load(nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6)), tmp_path), torch.randn(2, 6)
    torch.testing.assert_close(fresh(x), model(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "cut in the header", "foreign", "text", "no keys"])
def test_a_bad_file_is_told_and_changes_nothing(bert, converted, tmp_path, damage):
    path = save(trained(converted)[0], tmp_path)
    whole, tensors = path.read_bytes(), load_file(path)
    match damage:
        case "missing":
            path.unlink()
        case "empty" | "truncated" | "cut in the header":
            path.write_bytes(whole[: {"empty": 0, "truncated": len(whole) - 9, "cut in the header": 50}[damage]])
        case "foreign":
            save_file(tensors, path)
        case "text":
            path.write_text("not a model")
        case "no keys":
            save_file(tensors, path, {"sparsegrad": json.dumps({"format": 1})})
    model = bert.model()
    before = everything(model)
    with pytest.raises(BasesMismatch, match=FILE):
        load(model, tmp_path)
    assert_unchanged(model, before)


def test_another_architecture_or_shape_is_told_and_changes_nothing(architectures, converted, tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    save(trained(converted)[0], tmp_path)
    options = architectures["bert"].model().config.to_dict()
    others = [architectures[name].model() for name in ("roberta", "gpt2", "llama")] + [
        BertForSequenceClassification(BertConfig(**{**options, **change}))
        for change in (
            {"intermediate_size": 48},
            {"vocab_size": 61},
            {"num_hidden_layers": 5},
            {"num_hidden_layers": 3},
            {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}},
        )
    ]
    for model in others:
        before = everything(model)
        with pytest.raises(BasesMismatch):
            load(model, tmp_path)
        assert_unchanged(model, before)


def test_a_model_tied_otherwise_is_told(architectures, converted, tmp_path):
    """Two weights that were trained apart cannot both go into one."""
    from transformers import GPT2LMHeadModel

    arch = architectures["gpt2"]
    options = arch.model().config
    options.tie_word_embeddings = False
    apart = GPT2LMHeadModel(options).eval()
    convert(apart, calibrate(apart, arch.batches(1), 1))
    save(apart, tmp_path)
    tied = arch.model()
    before = everything(tied)
    with pytest.raises(BasesMismatch, match=r"tied|shares"):
        load(tied, tmp_path)
    assert_unchanged(tied, before)


def test_bad_requests_are_told(bert, converted, tmp_path):
    with pytest.raises(SparseGradError, match="nothing to save"):
        save(bert.model(), tmp_path)
    assert not list(tmp_path.iterdir())
    model, _ = trained(converted)
    save(model, tmp_path)
    with pytest.raises(SparseGradError, match="converted already"):
        load(model, tmp_path)
    with pytest.raises(SparseGradError, match="half=True stores a compact model's slices"):
        save(model, tmp_path / "half", half=True)
    assert not (tmp_path / "half").exists()


KILLED = """
import os, sys, torch, sparsegrad
from sparsegrad import SparseGradLinear
os.fsync = lambda _fd: os._exit(9)
model = torch.nn.Sequential(SparseGradLinear.from_linear(torch.nn.Linear(4, 4), kept=2))
sparsegrad.save(model, sys.argv[1])
"""


def test_a_kill_while_writing_leaves_the_old_file(tmp_path):
    def plain():
        return nn.Sequential(nn.Linear(4, 4))

    model = plain()
    model[0] = SparseGradLinear.from_linear(model[0], kept=2)
    save(model, tmp_path)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT)
    assert killed.returncode == 9 and len(list(tmp_path.iterdir())) == 2  # the half-written one lies beside
    x = torch.randn(3, 4)
    assert torch.equal(load(plain(), tmp_path)(x), model(x))
    save(model, tmp_path)
    assert torch.equal(load(plain(), tmp_path)(x), model(x))
