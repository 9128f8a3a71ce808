"""The registry the laws run over: one tiny random-weight model of each architecture, with a padded batch and labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from torch import Tensor, nn

import sparsegrad

WIDTH, HIDDEN, BLOCKS, VOCABULARY = 16, 40, 4, 60
Batch = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A family: how to build a tiny one, and what the structure search must find in each of its blocks.

    ``roles``: role -> (out, in). ``stacks``: stacks of blocks that hold them (T5 has two, with a role of its own each).
    """

    name: str
    build: Callable[[], nn.Module]
    task: str
    roles: dict[str, tuple[int, int]]

    def model(self, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self.build().to(dtype).eval()

    def batch(self, seed: int = 0, size: int = 3, length: int = 9) -> Batch:
        """Rows of falling length, padded on the right; labels by task."""
        chance = torch.Generator().manual_seed(seed)
        ids = torch.randint(5, VOCABULARY, (size, length), generator=chance)
        real = torch.arange(length)[None] < torch.tensor([length - 3 * (row % 3) for row in range(size)])[:, None]
        ids = ids.masked_fill(~real, 1)
        batch = {"input_ids": ids, "attention_mask": real.long()}
        if self.task == "classify":
            batch["labels"] = torch.randint(0, 2, (size,), generator=chance)
        else:
            batch["labels"] = ids.masked_fill(~real, -100)
        return batch

    def batches(self, count: int, size: int = 3) -> list[Batch]:
        return [self.batch(seed, size=size) for seed in range(count)]


def _shapes(up: str, down: str, *, halves: int = 1) -> dict[str, tuple[int, int]]:
    return {up: (halves * HIDDEN, WIDTH), down: (WIDTH, HIDDEN)}


_BERT = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 2,
    "intermediate_size": HIDDEN,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "pad_token_id": 1,
}
_LLAMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": HIDDEN,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "pad_token_id": 1,
    "use_cache": False,
}
_T5 = {
    "vocab_size": VOCABULARY,
    "d_model": WIDTH,
    "d_kv": 8,
    "d_ff": HIDDEN,
    "num_layers": BLOCKS,
    "num_heads": 2,
    "dropout_rate": 0.0,
    "pad_token_id": 1,
    "decoder_start_token_id": 1,
    "use_cache": False,
}
_GPT2 = {
    "vocab_size": VOCABULARY,
    "n_embd": WIDTH,
    "n_inner": HIDDEN,
    "n_layer": BLOCKS,
    "n_head": 2,
    "n_positions": 64,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 1,
    "use_cache": False,
}
_DISTIL = {
    "vocab_size": VOCABULARY,
    "dim": WIDTH,
    "hidden_dim": HIDDEN,
    "n_layers": BLOCKS,
    "n_heads": 2,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "seq_classif_dropout": 0.0,
    "pad_token_id": 1,
}
_MODERN = {key: value for key, value in _BERT.items() if "dropout" not in key} | {
    "classifier_pooling": "mean",
    "reference_compile": False,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "cls_token_id": 0,
    "sep_token_id": 2,
}


def _architecture(
    name: str, model: str, config: str, task: str, roles: dict[str, tuple[int, int]], **options: Any
) -> Architecture:
    def build() -> nn.Module:
        import transformers

        made: nn.Module = getattr(transformers, model)(getattr(transformers, config)(**options))
        return made

    return Architecture(name=name, build=build, task=task, roles=roles)


def _t5_roles(up: str) -> dict[str, tuple[int, int]]:
    """Encoder blocks have their feed-forward second, decoder blocks third: two roles by name already."""
    return {f"layer.{at}.DenseReluDense.{name}": shape for at in (1, 2) for name, shape in _shapes(up, "wo").items()}


_BERT_ROLES, _LLAMA_ROLES = _shapes("intermediate.dense", "output.dense"), _shapes("mlp.up_proj", "mlp.down_proj")
ARCHITECTURES = {
    made.name: made
    for made in (
        _architecture("bert", "BertForSequenceClassification", "BertConfig", "classify", _BERT_ROLES, **_BERT),
        _architecture("roberta", "RobertaForSequenceClassification", "RobertaConfig", "classify", _BERT_ROLES, **_BERT),
        _architecture(
            "distilbert",
            "DistilBertForSequenceClassification",
            "DistilBertConfig",
            "classify",
            _shapes("ffn.lin1", "ffn.lin2"),
            **_DISTIL,
        ),
        _architecture(
            "modernbert",
            "ModernBertForSequenceClassification",
            "ModernBertConfig",
            "classify",
            _shapes("mlp.Wi", "mlp.Wo", halves=2),
            **_MODERN,
        ),
        _architecture("gpt2", "GPT2LMHeadModel", "GPT2Config", "causal", _shapes("mlp.c_fc", "mlp.c_proj"), **_GPT2),
        _architecture("t5", "T5ForConditionalGeneration", "T5Config", "seq2seq", _t5_roles("wi"), **_T5),
        _architecture(
            "t5-gated",
            "T5ForConditionalGeneration",
            "T5Config",
            "seq2seq",
            _t5_roles("wi_1"),
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
            **_T5,
        ),
        _architecture("llama", "LlamaForCausalLM", "LlamaConfig", "causal", _LLAMA_ROLES, **_LLAMA),
        _architecture("mistral", "MistralForCausalLM", "MistralConfig", "causal", _LLAMA_ROLES, **_LLAMA),
        _architecture("qwen2", "Qwen2ForCausalLM", "Qwen2Config", "causal", _LLAMA_ROLES, **_LLAMA),
        _architecture("qwen3", "Qwen3ForCausalLM", "Qwen3Config", "causal", _LLAMA_ROLES, head_dim=16, **_LLAMA),
    )
}


@pytest.fixture(params=list(ARCHITECTURES))
def arch(request: pytest.FixtureRequest) -> Architecture:
    """Each architecture in turn."""
    return ARCHITECTURES[request.param]


@pytest.fixture
def architectures() -> dict[str, Architecture]:
    return ARCHITECTURES


@pytest.fixture
def bert() -> Architecture:
    return ARCHITECTURES["bert"]


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    torch.manual_seed(0)
    yield


@pytest.fixture
def rotation() -> Callable[..., sparsegrad.Rotation]:
    """rotation(in, out, sides=..., dtype=...): random orthogonal matrices."""

    def make(inner: int, out: int, *, sides: str = "both", dtype: torch.dtype = torch.float64) -> sparsegrad.Rotation:
        chance = torch.Generator().manual_seed(inner + 7 * out)
        u, v = (torch.linalg.qr(torch.randn(n, n, generator=chance, dtype=torch.float64)).Q for n in (inner, out))
        return sparsegrad.Rotation(
            u.to(dtype) if sides in ("both", "in") else None, v.to(dtype) if sides in ("both", "out") else None
        )

    return make


@pytest.fixture
def converted(bert: Architecture) -> Callable[..., nn.Module]:
    """converted(arch, kept=..., dtype=..., **convert's options): a model in bases calibrated on itself."""

    def make(
        architecture: Architecture | None = None, *, dtype: torch.dtype = torch.float64, seed: int = 0, **options: Any
    ) -> nn.Module:
        architecture = architecture or bert
        model = architecture.model(dtype=dtype, seed=seed)
        bases = sparsegrad.calibrate(model, architecture.batches(2), steps=2)
        return sparsegrad.convert(model, bases, **options)

    return make
