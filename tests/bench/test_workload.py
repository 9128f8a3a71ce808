"""The workload: the same model and tensors each time, and one line for whatever cannot be had."""

import json
import logging
import pickle
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
)

import bench.hub
from bench.batches import Batch
from bench.errors import BadRequest
from bench.hub import quiet
from bench.lengths import LengthLaw
from bench.tasks import read_task
from bench.workload import Workload, make_workload

TINY = {
    "bert": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
    "roberta": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 34,
        "type_vocab_size": 1,
        "pad_token_id": 1,
    },
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "modernbert": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "cls_token_id": 1,
        "sep_token_id": 2,
    },
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_inner": 32},
    "llama": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "tie_word_embeddings": False,
    },
}
CAUSAL = {"gpt2", "llama"}
TEXTS = [f"Row {'abcde'[i // 5]} {'fghij'[i % 5]} says {'very ' * (i % 5)}little." for i in range(24)]


def tiny_config(kind: str) -> PreTrainedConfig:
    return AutoConfig.for_model(kind, vocab_size=500, **TINY[kind])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of small saved models with weights and without a tokenizer."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            auto = AutoModelForCausalLM if kind in CAUSAL else AutoModelForSequenceClassification
            made[kind] = tmp_path_factory.mktemp("models") / kind
            with quiet():
                auto.from_config(tiny_config(kind)).save_pretrained(made[kind])
        return made[kind]

    return folder


@pytest.fixture
def glue(tmp_path: Path) -> Path:
    """A data folder with 24 CoLA rows and 24 STS-B rows."""
    for task, header in (("cola", "sentence"), ("stsb", "sentence1\tsentence2")):
        rows = ["\t".join([text] * (1 + header.count("\t")) + [str(i % 2), str(i)]) for i, text in enumerate(TEXTS)]
        (tmp_path / "glue" / task).mkdir(parents=True)
        (tmp_path / "glue" / task / "train.tsv").write_text("\n".join([f"{header}\tlabel\tidx", *rows]))
    return tmp_path / "glue"


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is away and its cache is empty, whatever this machine has."""
    monkeypatch.setattr(bench.hub, "reachable", lambda: False)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repo_id, name: None)


def make(**given: Any) -> Workload:
    small = {"batch_size": 4, "max_length": 16, "batches": 2, "calibration_steps": 1}
    return make_workload(**small | given)


def same(left: tuple[Batch, ...], right: tuple[Batch, ...]) -> bool:
    return all(
        one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
        for one, two in zip(left, right, strict=True)
    )


def state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return module.state_dict()


def equal_states(left: torch.nn.Module, right: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(state(left).values(), state(right).values(), strict=True))


@pytest.mark.parametrize("kind", TINY)
@pytest.mark.parametrize("random_weights", [True, False])
def test_every_model_builds_the_same_twice_and_learns(
    tiny: Callable[[str], Path], kind: str, random_weights: bool
) -> None:
    work = make(model=str(tiny(kind)), random_weights=random_weights)
    generator_before = torch.get_rng_state()
    first: Any = work.build()
    second = pickle.loads(pickle.dumps(work.build))()
    assert torch.equal(torch.get_rng_state(), generator_before)
    assert first is not second and equal_states(first, second)
    assert first.training and first.config._attn_implementation == "sdpa"
    assert {(p.dtype, p.device.type) for p in first.parameters()} == {(torch.float32, "cpu")}
    loss = first(**work.batches[0]).loss
    loss.backward()
    assert loss.isfinite() and not equal_states(first, make(model=str(tiny(kind)), random_weights=True, seed=1).build())
    saved = AutoConfig.from_pretrained(str(tiny(kind)))
    assert (work.description["head"] == "causal") == (kind in CAUSAL) == (saved.model_type in CAUSAL)


def test_pretrained_weights_are_the_files(tiny: Callable[[str], Path]) -> None:
    folder = tiny("llama")
    module = make(model=str(folder)).build()
    for name, tensor in load_file(folder / "model.safetensors").items():
        assert torch.equal(module.get_parameter(name), tensor)


@pytest.mark.parametrize("kind", TINY)
@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_dropout_is_set_everywhere(tiny: Callable[[str], Path], kind: str, dropout: float) -> None:
    work = make(model=str(tiny(kind)), random_weights=True, dropout=dropout)
    module: Any = work.build()
    rates = {m.p for m in module.modules() if isinstance(m, torch.nn.Dropout)}
    # Attention under sdpa has no module of its own: its probability is an attribute or the config's.
    names = {n: v for n, v in module.config.to_dict().items() if "dropout" in n or "pdrop" in n}
    assert rates <= {dropout}
    assert names and set(names.values()) - {True, False} <= {dropout}
    if dropout == 0:
        once, again = (module(**work.batches[0]).loss for _ in range(2))
        assert torch.equal(once, again)


def test_real_text_under_its_tokenizer(minilm_folder: Path, shared_data: Path) -> None:
    asked: dict[str, Any] = {
        "model": str(minilm_folder),
        "task": "cola",
        "data_dir": shared_data / "glue",
        "batch_size": 16,
        "max_length": 128,
        "batches": 3,
    }
    work, again = make(**asked), make(**asked)
    assert same(work.batches + work.calibration_batches, again.batches + again.calibration_batches)
    assert (work.model_fingerprint, work.data_fingerprint) == (again.model_fingerprint, again.data_fingerprint)
    assert {tuple(batch["input_ids"].shape) for batch in work.batches} == {(16, 128)}
    assert 0.07 < work.description["active_token_share"] < 0.11  # 11.3 tokens of 128
    assert work.description["examples"] == 8_551 and work.description["calibration_disjoint"]
    labels = {e.texts[0].lower(): e.label for e in read_task("cola", data_dir=shared_data / "glue")}
    tokenizer = AutoTokenizer.from_pretrained(str(minilm_folder))
    ids = work.batches[0]["input_ids"][0]
    (text,) = (text for text in labels if tokenizer(text)["input_ids"] == ids[ids != 0].tolist())
    assert labels[text] == work.batches[0]["labels"][0]
    assert not same(work.batches, make(**asked, seed=1).batches)


@pytest.mark.usefixtures("no_hub")
def test_a_preset_with_random_weights_needs_nothing() -> None:
    work = make(model="minilm-l6", random_weights=True, batch_size=32, max_length=128, batches=8)
    assert work.description["tokenizer"] == "none (random ids)"
    assert work.description["lengths"] == "lognormal:10.7:0.33"
    assert (work.lora_rank, work.every, work.targets) == (7, 1, None)
    lengths = torch.cat([batch["attention_mask"].sum(1) for batch in work.batches])
    assert float(lengths.double().log().mean().exp()) == pytest.approx(10.7, rel=0.06)
    assert float(lengths.double().log().std()) == pytest.approx(0.33, rel=0.15)
    assert set(work.batches[0]["labels"].tolist()) == {0, 1}
    llama = make(model="llama-2-7b", random_weights=True)
    assert (llama.lora_rank, llama.every, llama.description["head"]) == (32, 3, "causal")


@pytest.mark.usefixtures("no_hub")
def test_the_stand_in_is_recorded(glue: Path) -> None:
    work = make(model="minilm-l6", random_weights=True, task="stsb", data_dir=glue)
    assert work.description["tokenizer"] == "stand-in (hashed words)"
    assert work.description["head"] == "regression"
    assert work.batches[0]["labels"].dtype == torch.float32
    assert work.batches[0]["token_type_ids"].max() == 1
    json.dumps(work.description, allow_nan=False)


def test_padding(tiny: Callable[[str], Path], glue: Path) -> None:
    asked: dict[str, Any] = {"model": str(tiny("roberta")), "random_weights": True, "task": "cola", "data_dir": glue}
    widest, tight = make(**asked, padding="max"), make(**asked, padding="longest")
    for wide, narrow in zip(widest.batches, tight.batches, strict=True):
        width = int(narrow["attention_mask"].sum(1).max())
        assert wide["input_ids"].shape == (4, 16) and narrow["input_ids"].shape == (4, width) and width < 16
        assert torch.equal(wide["input_ids"][:, :width], narrow["input_ids"])
        assert (wide["input_ids"][wide["attention_mask"] == 0] == 1).all()  # RoBERTa's padding id
        assert "token_type_ids" not in wide
    active = sum(int(batch["attention_mask"].sum()) for batch in tight.batches)
    for work in (widest, tight):
        total = sum(batch["attention_mask"].numel() for batch in work.batches)
        assert work.description["active_token_share"] == pytest.approx(active / total, abs=1e-4)


@pytest.mark.parametrize("kind", sorted(CAUSAL))
def test_a_causal_model_learns_its_own_tokens(tiny: Callable[[str], Path], glue: Path, kind: str) -> None:
    batch = make(model=str(tiny(kind)), random_weights=True, task="cola", data_dir=glue).batches[0]
    active = batch["attention_mask"] == 1
    assert torch.equal(batch["labels"][active], batch["input_ids"][active])
    assert (batch["labels"][~active] == -100).all() and not active.all()


def test_calibration_takes_other_examples_until_there_are_none(tiny: Callable[[str], Path], glue: Path) -> None:
    def rows(batches: tuple[Batch, ...]) -> list[tuple[int, ...]]:
        return [tuple(row.tolist()) for batch in batches for row in batch["input_ids"]]

    asked: dict[str, Any] = {"model": str(tiny("bert")), "random_weights": True, "task": "cola", "data_dir": glue}
    work = make(**asked, batches=4, calibration_steps=2)
    assert len(set(rows(work.batches))) == 16 and len(set(rows(work.calibration_batches))) == 8
    assert not set(rows(work.batches)) & set(rows(work.calibration_batches))
    assert work.description["calibration_disjoint"] and work.description["epochs"] == pytest.approx(2 / 3, abs=1e-4)

    cycled = make(**asked, batches=12, calibration_steps=0)
    assert sorted(rows(cycled.batches)[:24]) == sorted(rows(cycled.batches)[24:])
    assert cycled.description["epochs"] == 2 and cycled.calibration_batches == ()
    assert not make(**asked, batches=6, calibration_steps=1).description["calibration_disjoint"]


def test_fingerprints_see_what_they_should(tiny: Callable[[str], Path], glue: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    shutil.copytree(tiny("bert"), folder)
    base = make(model=str(folder))
    assert re.fullmatch("[0-9a-f]{16}", base.model_fingerprint)
    assert re.fullmatch("[0-9a-f]{16}", base.data_fingerprint)
    assert make(model=str(tiny("bert"))).model_fingerprint == base.model_fingerprint  # content, not place
    assert make(model=str(folder), dropout=0.5).model_fingerprint != base.model_fingerprint
    assert make(model=str(folder), random_weights=True).model_fingerprint != base.model_fingerprint
    seeded = [make(model=str(folder), random_weights=True, seed=seed).model_fingerprint for seed in (0, 1)]
    assert seeded[0] != seeded[1]
    assert make(model=str(folder), padding="longest").data_fingerprint != base.data_fingerprint
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.bias"][0] += 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    changed = make(model=str(folder))
    assert changed.model_fingerprint != base.model_fingerprint
    assert changed.data_fingerprint == base.data_fingerprint


def test_loading_is_silent_and_restores(
    tiny: Callable[[str], Path], glue: Path, minilm_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    filters, disabled = list(warnings.filters), logging.root.manager.disable
    levels = {name: logging.getLogger(name).level for name in ("transformers", "huggingface_hub")}
    make(model=str(minilm_folder), task="cola", data_dir=glue).build()
    assert capfd.readouterr() == ("", "")
    assert (list(warnings.filters), logging.root.manager.disable) == (filters, disabled)
    assert levels == {name: logging.getLogger(name).level for name in levels}


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize(
    ("asked", "needed"),
    [
        (
            {"model": "bert-base"},
            "cannot load 'bert-base' (hub id google-bert/bert-base-uncased): the hub is not reachable and it is "
            "not cached; give --model FOLDER, or add --random-weights for the shape alone",
        ),
        ({"model": "bert-bass"}, "name a preset (bert-base, "),
        ({"model": "some/model", "random_weights": True}, "the hub is not reachable"),
        ({"model": "./nowhere"}, "no such folder"),
        ({"model": __file__}, "is a file"),
        ({"model": "{bert}", "task": "cola", "data_dir": "{glue}"}, "give --tokenizer FOLDER"),
        ({"model": "{bert}", "task": "cola", "data_dir": "{glue}", "tokenizer": "./no"}, "--tokenizer ./no"),
        ({"model": "{bert}", "task": "cola", "data_dir": "{glue}", "tokenizer": "bert-base"}, "'bert-base'"),
        ({"model": "{bert}", "task": "cola", "data_dir": "{glue}", "tokenizer": "{minilm}"}, "ends at 499"),
        ({"model": "{bert}", "task": "nope"}, "unknown task 'nope'"),
        ({"model": "{bert}", "data_dir": "{glue}"}, "has no use without --task"),
        ({"model": "{bert}", "tokenizer": "{minilm}"}, "has no use without --task"),
        ({"model": "{bert}", "limit": 3}, "--limit 3 has no use without --task"),
        ({"model": "{bert}", "task": "cola", "lengths": LengthLaw.parse("fixed:9")}, "--lengths fixed:9"),
        ({"model": "{bert}", "padding": "none"}, "give max or longest"),
        ({"model": "{bert}", "dropout": 1.0}, "--dropout 1"),
        ({"model": "{bert}", "batch_size": 0}, "--batch-size 0"),
        ({"model": "{bert}", "batches": 0}, "--batches 0"),
        ({"model": "{bert}", "max_length": 3}, "--max-length 3"),
        ({"model": "{bert}", "max_length": 513}, "give 512 or less"),
        ({"model": "{roberta}", "max_length": 33}, "give 32 or less"),
        ({"model": "{bert}", "lengths": LengthLaw.parse("fixed:17")}, "--max-length 17 or more"),
        (
            {"model": "{bert}", "random_weights": True, "task": "cola", "data_dir": "{glue}", "batch_size": 25},
            "cola has 24 examples here",
        ),
        (
            {"model": "{bert}", "random_weights": True, "task": "cola", "data_dir": "{glue}", "limit": 3},
            "cola has 3 examples here, too few for one batch of 4; give --batch-size 3 or less, or raise --limit 3",
        ),
    ],
)
def test_wrong_requests_are_one_line(
    tiny: Callable[[str], Path], glue: Path, minilm_folder: Path, asked: dict[str, Any], needed: str
) -> None:
    places = {"{bert}": str(tiny("bert")), "{roberta}": str(tiny("roberta")), "{minilm}": str(minilm_folder)}
    given = {key: places.get(value, value) if isinstance(value, str) else value for key, value in asked.items()}
    if given.get("data_dir") == "{glue}":
        given["data_dir"] = glue
    with pytest.raises(BadRequest) as caught:
        make(**given)
    assert needed in str(caught.value) and "\n" not in str(caught.value)


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _bad_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _unknown_type(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "perceptron"}')


def _no_head(folder: Path) -> None:
    AutoConfig.for_model("vit").save_pretrained(folder)


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _no_pickle(folder: Path) -> None:
    _no_weights(folder)
    (folder / "pytorch_model.bin").write_bytes(b"not a pickle")


def _missing_shard(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _no_block(folder: Path) -> None:
    kept = {k: v for k, v in load_file(folder / "model.safetensors").items() if "layer.1.output" not in k}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def _other_shape(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 48}))


@pytest.mark.parametrize(
    ("damage", "needed"),
    [
        (_no_config, "no config.json"),
        (_bad_config, "cannot read "),
        (_unknown_type, "cannot read "),
        (_no_head, "no sequence classification model"),
        (_no_weights, "has no weights"),
        (_cut, "is damaged"),
        (_no_pickle, "cannot load the weights"),
        (_missing_shard, "every shard"),
        (_no_block, "lack 4 tensors of this model (such as bert.encoder.layer.1.output.LayerNorm.bias)"),
        (_other_shape, "cannot load the weights"),
    ],
)
def test_damaged_folders_are_one_line(
    tiny: Callable[[str], Path],
    tmp_path: Path,
    damage: Callable[[Path], None],
    needed: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny("bert"), folder)
    damage(folder)
    capfd.readouterr()
    with pytest.raises(BadRequest) as caught:
        make(model=str(folder)).build()
    assert needed in str(caught.value) and "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_causal_model_without_its_head_is_refused(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "llama"
    shutil.copytree(tiny("llama"), folder)
    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadRequest, match=r"lack 1 tensors.*lm_head\.weight"):
        make(model=str(folder)).build()


def test_the_hub_is_asked_once_and_its_refusal_is_told(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    folder = tmp_path / "snapshot"
    shutil.copytree(tiny("bert"), folder)
    (folder / "model.safetensors").unlink()

    def download(repo_id: str, *, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        if repo_id == "some/private":
            raise OSError("401 Client Error.\nCannot access gated repo")
        if "pytorch_model*.bin" in allow_patterns:
            torch.save(load_file(tiny("bert") / "model.safetensors"), folder / "pytorch_model.bin")
        return str(folder)

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repo_id, name: None)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr(bench.hub, "reachable", lambda: True)
    work = make(model="some/model")
    assert work.name == "some/model/synthetic" and len(asked) == 2
    assert equal_states(work.build(), make(model=str(tiny("bert"))).build())
    with pytest.raises(BadRequest, match=r"cannot load 'some/private': OSError: 401 Client Error\.; give --model"):
        make(model="some/private")


def test_what_is_cached_needs_no_hub(tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    cached = {"config.json": str(tiny("bert") / "config.json")}
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repo_id, name: cached.get(name))
    monkeypatch.setattr(bench.hub, "reachable", lambda: pytest.fail("the hub was asked"))
    assert equal_states(make(model="some/model").build(), make(model=str(tiny("bert"))).build())
