"""The models that the harness is tried on, small enough to train in a blink, and one run of bench.speed for all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.workload import Workload
from sparsegrad import Bases, calibrate
from sparsegrad.methods import Method, Settings
from tests.bench.speed_run import COLA, Two, ended, start, words
from tests.bench.speed_run import CONFIG as WITH_WORDS

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


@pytest.fixture(scope="session")
def speed_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the shape alone, of a vocabulary that text can be hashed into."""
    made = tmp_path_factory.mktemp("models") / "tiny"
    made.mkdir()
    (made / "config.json").write_text(json.dumps(WITH_WORDS), encoding="utf-8")
    return made


@pytest.fixture(scope="session")
def glue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a dozen rows of CoLA."""
    made = tmp_path_factory.mktemp("glue")
    (made / "cola").mkdir()
    (made / "cola" / "train.tsv").write_text(COLA, encoding="utf-8")
    return made


@pytest.fixture(scope="session")
def two(speed_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Two:
    """Every method, measured by two processes at once."""
    out = tmp_path_factory.mktemp("results") / "two"
    both = [start(words(speed_model, out, *more)) for more in (("--json", "--quiet"), ())]
    first, second = (ended(process) for process in both)
    return Two(out=out, json=first, table=second)


@pytest.fixture
def measured(two: Two, tmp_path: Path) -> Path:
    """A folder of records of one's own, in which everything is measured."""
    return shutil.copytree(two.out, tmp_path / "measured")
