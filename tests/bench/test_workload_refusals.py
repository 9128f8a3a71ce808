"""One line for whatever workload cannot be had: a wrong request, a damaged folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from bench.errors import BadRequest
from bench.lengths import LengthLaw
from tests.bench.small_models import make


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
    tiny: Callable[[str], Path], texts: Path, minilm_folder: Path, asked: dict[str, Any], needed: str
) -> None:
    places = {"{bert}": str(tiny("bert")), "{roberta}": str(tiny("roberta")), "{minilm}": str(minilm_folder)}
    given = {key: places.get(value, value) if isinstance(value, str) else value for key, value in asked.items()}
    if given.get("data_dir") == "{glue}":
        given["data_dir"] = texts
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
