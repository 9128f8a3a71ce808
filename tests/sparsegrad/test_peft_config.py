"""SparseGradConfig and its kind are to PEFT what its own are: they print, serialise, copy and come back."""

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from peft import PeftConfig, PeftType, TaskType, get_peft_config
from peft.mapping import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_MIXED_MODEL_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
)

import sparsegrad
from sparsegrad.peft import SparseGradConfig, SparseGradModel
from sparsegrad.peft.kind import SPARSEGRAD, extended

ROOT = Path(sparsegrad.__file__).parents[1]
FULL: dict[str, Any] = {
    "kept": 40,
    "core": (8, 16),
    "seed": 3,
    "target_modules": ["a", "b"],
    "exclude_modules": ["c"],
    "layers_to_transform": [0, 2],
    "layers_pattern": "blocks",
    "fan_in_fan_out": True,
    "modules_to_save": ["head"],
    "init_weights": False,
    "task_type": TaskType.SEQ_CLS,
    "base_model_name_or_path": "some/model",
    "inference_mode": True,
}


def test_the_kind_is_a_member_like_the_others():
    kind: Any = PeftType["SPARSEGRAD"]
    assert kind is SPARSEGRAD is PeftType("SPARSEGRAD") is PeftType["SPARSEGRAD"] is list(PeftType)[-1]
    assert "SPARSEGRAD" in vars(PeftType) and "SPARSEGRAD" in PeftType.__members__
    assert kind == "SPARSEGRAD" and kind.value == kind.name == "SPARSEGRAD" and isinstance(kind, PeftType)
    assert hash(kind) == hash("SPARSEGRAD") and "SPARSEGRAD" in list(PeftType)
    for print_it in (str, repr, "{}".format, json.dumps, lambda member: member.lower()):
        assert print_it(kind) == print_it(PeftType.LORA).replace("LORA", "SPARSEGRAD").replace("lora", "sparsegrad")
    assert pickle.loads(pickle.dumps(kind)) is kind and copy.deepcopy(kind) is kind and copy.copy(kind) is kind
    assert len(set(PeftType)) == len(list(PeftType)) == len(PeftType.__members__)
    with pytest.raises(AttributeError, match="reassign"):
        PeftType.SPARSEGRAD = "another"  # type: ignore[attr-defined]


def test_a_kind_is_added_once():
    before = list(PeftType)
    assert extended(PeftType, "SPARSEGRAD") is SPARSEGRAD and extended(PeftType, "LORA") is PeftType.LORA
    assert list(PeftType) == before


def test_peft_finds_the_method_by_its_kind():
    assert PEFT_TYPE_TO_CONFIG_MAPPING[PeftType("SPARSEGRAD")] is SparseGradConfig
    assert PEFT_TYPE_TO_TUNER_MAPPING[SPARSEGRAD] is SparseGradModel
    assert PEFT_TYPE_TO_PREFIX_MAPPING[SPARSEGRAD] == SparseGradModel.prefix == "sparsegrad_"
    assert SPARSEGRAD not in PEFT_TYPE_TO_MIXED_MODEL_MAPPING
    assert type(PeftConfig.from_peft_type(peft_type="SPARSEGRAD")) is SparseGradConfig
    assert type(get_peft_config({"peft_type": "SPARSEGRAD", "kept": 5})) is SparseGradConfig
    # Every kind still has its configuration, as PEFT's own test of its list asks.
    assert all(kind in PEFT_TYPE_TO_CONFIG_MAPPING for kind in PeftType)


@pytest.mark.parametrize("options", [{}, FULL], ids=["defaults", "every option"])
@pytest.mark.parametrize("read_as", [PeftConfig, SparseGradConfig])
def test_a_config_comes_back_from_its_file(options, read_as, tmp_path):
    config = SparseGradConfig(**options)
    config.save_pretrained(tmp_path)
    again = read_as.from_pretrained(tmp_path)
    assert type(again) is SparseGradConfig and again == config and again.to_dict() == config.to_dict()
    assert again.peft_type is SPARSEGRAD
    told = json.loads((tmp_path / "adapter_config.json").read_text())
    assert told["peft_type"] == "SPARSEGRAD" and told["kept"] == config.kept


@pytest.mark.parametrize("through", [copy.copy, copy.deepcopy, lambda config: pickle.loads(pickle.dumps(config))])
def test_a_config_survives_a_copy_with_its_bases(through):
    config = SparseGradConfig(**FULL, bases="bases.safetensors")
    assert through(config) == config and through(config).bases == "bases.safetensors"
    assert through(config).peft_type is SPARSEGRAD


def test_a_pickled_config_brings_its_kind_into_a_fresh_process(tmp_path):
    (tmp_path / "config.pkl").write_bytes(pickle.dumps(SparseGradConfig(kept=7)))
    code = (
        "import pickle, sys; config = pickle.load(open(sys.argv[1], 'rb')); "
        "from peft import PeftType; print(config.kept, config.peft_type is PeftType.SPARSEGRAD)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "config.pkl")]
    assert subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout == "7 True\n"


def test_the_path_of_the_bases_is_not_in_the_file(tmp_path):
    SparseGradConfig(bases="/home/someone/bases.safetensors").save_pretrained(tmp_path)
    assert "someone" not in (tmp_path / "adapter_config.json").read_text()
    assert SparseGradConfig.from_pretrained(tmp_path).bases is None


def test_names_become_a_set_and_a_pattern_stays_one():
    assert SparseGradConfig(target_modules=["up", "down"]).target_modules == {"up", "down"}
    assert SparseGradConfig(target_modules=".*up").target_modules == ".*up"


def test_an_option_of_a_later_version_warns_and_is_dropped(tmp_path):
    SparseGradConfig(kept=9).save_pretrained(tmp_path)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"of_tomorrow": 1}))
    with pytest.warns(UserWarning, match="Unexpected keyword arguments .'of_tomorrow'."):
        assert PeftConfig.from_pretrained(tmp_path).kept == 9


def test_an_option_that_is_none_is_an_error():
    with pytest.raises(TypeError, match="ranks"):
        SparseGradConfig(ranks=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task_type": "sing"}, "Invalid task type: 'sing'"),
        ({"core": 160}, "give two counts"),
        ({"core": (8, 8, 8)}, "give two counts"),
        ({"core": (8.0, 8)}, "give two counts"),
        (
            {"target_modules": ".*up", "layers_to_transform": [0]},
            "`layers_to_transform` cannot be used when `target_modules` is a str",
        ),
        (
            {"target_modules": ".*up", "layers_pattern": "h"},
            "`layers_pattern` cannot be used when `target_modules` is a str",
        ),
        ({"target_modules": ["up"], "layers_pattern": "h"}, "`layers_to_transform` must also be specified"),
    ],
)
def test_a_wrong_config_is_one_clear_line(options, said):
    with pytest.raises(ValueError, match=said) as raised:
        SparseGradConfig(**options)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("task", [*TaskType, None])
def test_every_task_type_is_taken(task):
    assert SparseGradConfig(task_type=task).task_type == task


def test_importing_sparsegrad_alone_loads_no_peft():
    code = "import sparsegrad, sys; print('peft' in sys.modules, 'sparsegrad.peft' in sys.modules)"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout == "False False\n"
