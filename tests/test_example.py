"""The example, whole: train through the Hugging Face Trainer, save, and predict in a new process."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import sparsegrad
from bench.hub import quiet

SCRIPT = Path(__file__).parents[1] / "examples" / "finetune.py"


@pytest.fixture
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("finetune", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("task", ["cola", "sst2"])
def test_a_new_process_predicts_what_the_trained_model_did(
    task: str, example: ModuleType, minilm_folder: Path, shared_data: Path, tmp_path: Path
) -> None:
    data = shared_data / "glue" / task
    with quiet():
        model = AutoModelForSequenceClassification.from_pretrained(minilm_folder, num_labels=2).eval()
    before = model.bert.encoder.layer[0].intermediate.dense.weight.detach().clone()
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    example.train(model, example.read(data / "train.tsv", tokenizer, 64), tmp_path)
    layer = model.bert.encoder.layer[0].intermediate.dense
    assert isinstance(layer, sparsegrad.SparseGradLinear)
    assert (layer.merged_weight() - before).abs().max() > 1e-4

    argv = ["predict", "--model", str(minilm_folder), "--data", str(data / "validation.tsv"), "--limit", "32"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *argv, "--out", str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("accuracy") and "32 sentences" in done.stdout

    rows = example.read(data / "validation.tsv", tokenizer, 32)
    with torch.no_grad():
        expected = torch.cat([model.eval()(**batch).logits for batch in example.batches(rows)])
    told = torch.tensor(json.loads((tmp_path / "logits.json").read_text()))
    torch.testing.assert_close(told, expected, rtol=0, atol=1e-6)
