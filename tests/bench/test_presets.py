"""Presets have the published shapes: their parameters are counted, on the meta device."""

import re

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM

from bench.presets import PRESETS

# Published totals (the encoder with its pooler; LLaMA with its untied head), and of that the weights and biases
# of the MLP linears: blocks x (linears x hidden x intermediate + biases).
COUNTS = {
    "bert-base": (109_482_240, 12 * (2 * 768 * 3072 + 768 + 3072)),
    "roberta-base": (124_645_632, 12 * (2 * 768 * 3072 + 768 + 3072)),
    "roberta-large": (355_359_744, 24 * (2 * 1024 * 4096 + 1024 + 4096)),
    "llama-2-7b": (6_738_415_616, 32 * 3 * 4096 * 11_008),
    "minilm-l6": (22_713_216, 6 * (2 * 384 * 1536 + 384 + 1536)),
}
SHARES = {"bert-base": 0.52, "roberta-base": 0.45, "roberta-large": 0.57, "llama-2-7b": 0.64, "minilm-l6": 0.31}
MLP = re.compile(r"(?<!attention\.)(intermediate|output)\.dense\.|\.mlp\.")


def _meta(name: str) -> torch.nn.Module:
    auto = AutoModelForCausalLM if name == "llama-2-7b" else AutoModel
    with torch.device("meta"):
        return auto.from_config(PRESETS[name].config())


@pytest.mark.parametrize("name", PRESETS)
def test_the_parameters_are_the_published_ones(name: str) -> None:
    sizes = {key: parameter.numel() for key, parameter in _meta(name).named_parameters()}
    total, mlp = COUNTS[name]
    assert sum(sizes.values()) == total
    assert sum(size for key, size in sizes.items() if MLP.search(key)) == mlp
    assert mlp / total == pytest.approx(SHARES[name], abs=0.005)


def test_the_papers_settings() -> None:
    settings = {name: (preset.lora_rank, preset.every) for name, preset in PRESETS.items()}
    assert settings == {
        "bert-base": (7, 1),
        "roberta-base": (7, 1),
        "roberta-large": (10, 1),
        "llama-2-7b": (32, 3),
        "minilm-l6": (7, 1),
    }


def test_llama_tunes_up_and_down_but_not_gate() -> None:
    targets = PRESETS["llama-2-7b"].targets
    assert targets is not None
    chosen = [name for name, _ in _meta("llama-2-7b").named_modules() if re.fullmatch(targets, name)]
    assert len(chosen) == 2 * 32
    assert {name.rsplit(".", 1)[-1] for name in chosen} == {"up_proj", "down_proj"}
    assert all(preset.targets is None for name, preset in PRESETS.items() if name != "llama-2-7b")


def test_special_ids_of_roberta() -> None:
    config = PRESETS["roberta-base"].config()
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (1, 0, 2)
    assert config.layer_norm_eps == 1e-5


def test_each_config_is_its_own() -> None:
    PRESETS["bert-base"].config().hidden_size = 1
    assert PRESETS["bert-base"].config().hidden_size == 768
