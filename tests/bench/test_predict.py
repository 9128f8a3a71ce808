"""A prediction is the measured peak: same step, same instrument, tensors without data."""

import json

import pytest
import torch

from bench.cells import measure_calibration, measure_peak
from bench.cli import Parser, add_method_words, add_model_words, add_run_words, request_of
from bench.memory import main
from bench.predict import NotPredictable, predict_peak
from sparsegrad.methods import METHODS

# Small enough to calibrate in a moment, wide enough that activations matter.
CONFIG = {
    "model_type": "bert",
    "vocab_size": 500,
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 384,
    "max_position_embeddings": 64,
}
PREDICTABLE = [name for name, method in METHODS.items() if method.basis is None or method.fixed]


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A model's shape, and text that is nearly all active, as a prediction assumes (not quite all: transformers leaves
    the attention mask out where every row is full)."""
    folder = tmp_path_factory.mktemp("wide")
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    text = ["--batch-size", "2", "--max-length", "64", "--lengths", "fixed:63"]
    return ["--model", str(folder), "--random-weights", *text]


def asked(words):
    made = Parser(prog="test", description="", example="")
    for add in (add_model_words, add_method_words, add_run_words):
        add(made)
    return request_of(made.parse_args([*words, "--device", "cpu"]))


@pytest.mark.parametrize("trainable", ["mlp", "all"])
@pytest.mark.parametrize("name", [name for name in PREDICTABLE if name != "shira"])
def test_within_two_percent_of_a_real_run(words, name, trainable, tmp_path):
    request = asked([*words, "--trainable", trainable, "--calibration-steps", "1", "--kept", "500"])
    method, path = METHODS[name], tmp_path / "bases.safetensors"
    if method.fixed:
        measure_calibration(request, name, path)
    measured = measure_peak(request, name, path if method.fixed else None)
    told = predict_peak(request, method, request.workload())
    assert told["instrument"] == "predicted"
    for which in ("peak_bytes", "adapter_bytes", "trainable_parameters"):
        assert told[which] == pytest.approx(measured[which], rel=0.02), which
    for phase, read in measured["by_phase_bytes"].items():
        assert told["by_phase_bytes"][phase] == pytest.approx(read, rel=0.02), phase


@pytest.mark.parametrize("name", [name for name in METHODS if name not in PREDICTABLE] + ["shira"])
def test_what_depends_on_values_is_refused(words, name):
    request = asked(words)
    with pytest.raises(NotPredictable, match=f"{name} .*measure it"):
        predict_peak(request, METHODS[name], request.workload())


def test_a_model_that_does_not_fit_here(capsys, tmp_path):
    """Seven billion parameters, 12.6 GiB of weights in bf16, in a process that allocates none of it."""
    words = ["--predict", "--model", "llama-2-7b", "--dtype", "bf16", "--batch-size", "1", "--max-length", "8"]
    assert main([*words, "--methods", "lora", "--out", str(tmp_path), "--json", "--quiet"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"full", "lora", "frozen"}
    assert told["frozen"]["peak_bytes"] > 6_738_000_000 * 2
    assert told["full"]["peak_bytes"] > told["lora"]["peak_bytes"] > told["frozen"]["peak_bytes"]
    assert torch.get_default_dtype() is torch.float32


def test_a_rerun_and_a_dry_run_measure_nothing(words, capsys, tmp_path):
    words = ["--predict", *words, "--methods", "lora", "--out", str(tmp_path)]
    assert main([*words, "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{name}: to be measured" for name in ("full", "lora", "frozen")]
    assert not list(tmp_path.glob("predicted/*"))
    assert main([*words, "--quiet"]) == 0
    table = capsys.readouterr().out
    assert "predicted on tensors without data" in table and "lora" in table
    before = sorted(tmp_path.rglob("*.json"))
    assert main([*words, "--quiet"]) == 0
    assert sorted(tmp_path.rglob("*.json")) == before and capsys.readouterr().out == table


def test_a_method_that_fails_is_a_row_and_the_exit_code(words, capsys, tmp_path):
    words = ["--predict", *words, "--methods", "sparsegrad-sd", "--out", str(tmp_path), "--quiet"]
    assert main(words) == 1
    out = capsys.readouterr().out
    assert "sparsegrad-sd: error: NotPredictable: sparsegrad-sd keeps entries by their values" in out
    assert "1.000x" in out  # the others are told all the same
