"""The model that the harness is tried on: a BERT small enough to train in a blink."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.workload import Workload
from sparsegrad import Bases, calibrate
from sparsegrad.methods import Method, Settings

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


@pytest.fixture(scope="module")
def bases_for() -> Callable[[Method, Settings, Workload], Bases | None]:
    """bases_for(method, settings, workload): what the method asks for; calibrated once where methods ask alike."""
    made: dict[str, Bases] = {}

    def bases(method: Method, settings: Settings, workload: Workload) -> Bases | None:
        options = method.calibration(settings)
        if options is None:
            return None
        key = f"{workload.model_fingerprint} {workload.data_fingerprint} {options}"
        if key not in made:
            batches = workload.calibration_batches
            made[key] = calibrate(workload.build(), batches, len(batches), **options)
        return made[key]

    return bases
