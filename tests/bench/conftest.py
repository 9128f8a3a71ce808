"""The models that the harness is tried on, small enough to train in a blink, and one run of bench.speed for all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import bench.hub
from bench.hub import quiet
from bench.workload import Workload
from sparsegrad import Bases, calibrate
from sparsegrad.methods import Method, Settings
from tests.bench.small_models import CAUSAL, TEXTS, tiny_config
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


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of small saved models with weights and without a tokenizer."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            auto = AutoModelForCausalLM if kind in CAUSAL else AutoModelForSequenceClassification
            made[kind] = tmp_path_factory.mktemp("models") / kind
            with quiet():
                auto.from_config(tiny_config(kind)).save_pretrained(made[kind])
        return made[kind]

    return folder


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A data folder with 24 CoLA rows and 24 STS-B rows."""
    for task, header in (("cola", "sentence"), ("stsb", "sentence1\tsentence2")):
        rows = ["\t".join([text] * (1 + header.count("\t")) + [str(i % 2), str(i)]) for i, text in enumerate(TEXTS)]
        (tmp_path / "glue" / task).mkdir(parents=True)
        (tmp_path / "glue" / task / "train.tsv").write_text("\n".join([f"{header}\tlabel\tidx", *rows]))
    return tmp_path / "glue"


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is away and its cache is empty, whatever this machine has."""
    monkeypatch.setattr(bench.hub, "reachable", lambda: False)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repo_id, name: None)
