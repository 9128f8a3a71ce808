"""A small model of each family that a workload can be of, and workloads of few batches."""

from typing import Any

import torch
from transformers import AutoConfig, PreTrainedConfig

from bench.batches import Batch
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
