"""Models that can be named in one word: their published shapes, and how the paper tuned them.

The shapes are written out here so that a preset with random weights needs no network. They are those of
the hub's config.json; the tests count their parameters against the published totals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["PRESETS", "Preset"]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A published model: where it is, its shape, and the paper's settings for it."""

    name: str
    hub_id: str
    model_type: str
    """The key of its configuration class in transformers."""
    shape: Mapping[str, int | float | bool]
    """What differs from that class's defaults, or matters enough to be said."""
    lora_rank: int
    """Rank of the LoRA baseline (paper, section 4)."""
    every: int = 1
    """Block stride: 3 tunes each third block."""
    targets: str | None = None
    """Regular expression over module names; None lets `convert` find the MLP linears by structure."""

    def config(self) -> PreTrainedConfig:
        """A fresh transformers configuration of this shape, built without the hub."""
        from transformers import AutoConfig

        return AutoConfig.for_model(self.model_type, **self.shape)


_BERT = {"vocab_size": 30_522, "max_position_embeddings": 512, "type_vocab_size": 2, "pad_token_id": 0}
_ROBERTA = {
    "vocab_size": 50_265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "layer_norm_eps": 1e-5,
}
_BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
_MINI = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 12}
_LLAMA_7B = {
    "vocab_size": 32_000,
    "hidden_size": 4096,
    "intermediate_size": 11_008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset(
                name="bert-base",
                hub_id="google-bert/bert-base-uncased",
                model_type="bert",
                shape=_BERT | _BASE,
                lora_rank=7,
            ),
            Preset(
                name="roberta-base",
                hub_id="FacebookAI/roberta-base",
                model_type="roberta",
                shape=_ROBERTA | _BASE,
                lora_rank=7,
            ),
            Preset(
                name="roberta-large",
                hub_id="FacebookAI/roberta-large",
                model_type="roberta",
                shape=_ROBERTA | _LARGE,
                lora_rank=10,
            ),
            Preset(
                name="llama-2-7b",
                hub_id="meta-llama/Llama-2-7b-hf",
                model_type="llama",
                shape=_LLAMA_7B,
                lora_rank=32,
                every=3,
                # The paper leaves gate_proj as it is.
                targets=r".*\.mlp\.(up_proj|down_proj)",
            ),
            Preset(
                name="minilm-l6",
                hub_id="sentence-transformers/all-MiniLM-L6-v2",
                model_type="bert",
                shape=_BERT | _MINI,
                lora_rank=7,
            ),
        )
    }
)
