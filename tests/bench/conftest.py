"""The model that the harness is tried on: a BERT small enough to train in a blink."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

CONFIG = {
    "model_type": "bert",
    "vocab_size": 120,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the shape alone, for --model with --random-weights."""
    made = tmp_path_factory.mktemp("models") / "tiny"
    made.mkdir()
    (made / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    return made
