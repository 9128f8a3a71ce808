"""How many parameters a model has and where: counted from its published shape, bare body, as table 1 counts."""

from __future__ import annotations

from collections.abc import Mapping

from bench.presets import Preset

__all__ = ["count_blocks", "tuned_matrices"]


def count_blocks(preset: Preset) -> dict[str, int]:
    """Parameters by block: embeddings, attention, MLP, other (norms, pooler), and full, their sum.

    Embeddings have their norm, a decoder its output matrix. Held against the models themselves by the tests.
    """
    blocks = _llama(preset.shape) if preset.model_type == "llama" else _encoder(preset.shape)
    return {**blocks, "full": sum(blocks.values())}


def tuned_matrices(preset: Preset) -> list[int]:
    """Entries of each matrix that the paper tunes."""
    shape = preset.shape
    hidden, inner, layers = (int(shape[name]) for name in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    return [hidden * inner] * (2 * len(range(0, layers, preset.every)))


def _encoder(shape: Mapping[str, int | float | bool]) -> dict[str, int]:
    """BERT and RoBERTa: query, key, value, output; two MLP linears; all with biases."""
    h, inner, layers = (int(shape[name]) for name in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    rows = sum(int(shape[name]) for name in ("vocab_size", "max_position_embeddings", "type_vocab_size"))
    return {
        "embeddings": rows * h + 2 * h,
        "attention": layers * 4 * (h * h + h),
        "MLP": layers * (2 * h * inner + inner + h),
        "other": layers * 4 * h + h * h + h,
    }


def _llama(shape: Mapping[str, int | float | bool]) -> dict[str, int]:
    """No biases; gate, up and down in the MLP; the output matrix is not tied to the embeddings."""
    h, inner, layers = (int(shape[name]) for name in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    keys = h * int(shape["num_key_value_heads"]) // int(shape["num_attention_heads"])
    return {
        "embeddings": 2 * int(shape["vocab_size"]) * h,
        "attention": layers * (2 * h * h + 2 * h * keys),
        "MLP": layers * 3 * h * inner,
        "other": (2 * layers + 1) * h,
    }
