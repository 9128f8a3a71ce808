"""A prediction is the measured peak: same step, same instrument, tensors without data."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.cells import measure_calibration, measure_peak
from bench.cli import Parser, add_method_words, add_model_words, add_run_words, request_of
from bench.memory.__main__ import main
from bench.predict import NotPredictable, predict_peak, predictable
from bench.request import Request
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
CAUSAL = {**CONFIG, "model_type": "llama", "num_key_value_heads": 4}
# Its output layer is its embedding; heads that share keys; sizes that nothing divides.
TIED = {**CAUSAL, "num_key_value_heads": 2, "intermediate_size": 101, "tie_word_embeddings": True}
PREDICTABLE = [name for name in METHODS if name != "shira"]
DYNAMIC = [name for name, method in METHODS.items() if method.basis is not None and not method.fixed]


def shape(folder: Path, config: dict[str, Any]) -> list[str]:
    """A model's shape, and text that is nearly all active, as a prediction assumes (not quite all: transformers leaves
    the attention mask out where every row is full)."""
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    text = ["--batch-size", "2", "--max-length", "64", "--lengths", "fixed:63"]
    return ["--model", str(folder), "--random-weights", *text]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """An encoder under a classification head."""
    return shape(tmp_path_factory.mktemp("wide"), CONFIG)


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A decoder, whose every token has a gradient."""
    return shape(tmp_path_factory.mktemp("causal"), CAUSAL)


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A decoder whose output layer is its embedding."""
    return shape(tmp_path_factory.mktemp("tied"), TIED)


def asked(words: list[str]) -> Request:
    """The request those words make."""
    made = Parser(prog="test", description="", example="")
    for add in (add_model_words, add_method_words, add_run_words):
        add(made)
    return request_of(made.parse_args([*words, "--device", "cpu"]))


def both(words: list[str], name: str, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(measured, predicted)."""
    request = asked([*words, "--calibration-steps", "1", "--kept", "500"])
    method = METHODS[name]
    calibrated = method.calibration(request.settings(request.workload())) is not None
    if calibrated:
        measure_calibration(request, name, path)
    return measure_peak(request, name, path if calibrated else None), predict_peak(request, method, request.workload())


@pytest.mark.parametrize("trainable", ["mlp", "all"])
@pytest.mark.parametrize("name", [name for name in PREDICTABLE if name not in DYNAMIC])
def test_within_two_percent_of_a_real_run(words: list[str], name: str, trainable: str, tmp_path: Path) -> None:
    measured, told = both([*words, "--trainable", trainable], name, tmp_path / "bases.safetensors")
    assert told["instrument"] == told["attribution_instrument"] == "predicted"
    for which in ("peak_bytes", "adapter_bytes", "trainable_parameters", "saved_for_backward_bytes"):
        assert told[which] == pytest.approx(measured[which], rel=0.02), which
    for phase, read in measured["by_phase_bytes"].items():
        assert told["by_phase_bytes"][phase] == pytest.approx(read, rel=0.02), phase
        for category, nbytes in measured["by_phase_category_bytes"][phase].items():
            predicted = told["by_phase_category_bytes"][phase][category]
            assert predicted == pytest.approx(nbytes, abs=0.02 * read), (phase, category)


@pytest.mark.parametrize("name", PREDICTABLE)
def test_within_two_percent_where_every_token_has_a_gradient(causal: list[str], name: str, tmp_path: Path) -> None:
    measured, told = both(causal, name, tmp_path / "bases.safetensors")
    assert told["peak_bytes"] == pytest.approx(measured["peak_bytes"], rel=0.02)
    for phase in ("forward", "backward"):
        assert told["by_phase_bytes"][phase] == pytest.approx(measured["by_phase_bytes"][phase], rel=0.02), phase


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("name", [*DYNAMIC, "full", "lora", "sparsegrad-compact", "frozen"])
def test_tied_weights_are_one(tied: list[str], name: str, dtype: str, tmp_path: Path) -> None:
    """With one gradient and one state, where all trains."""
    measured, told = both([*tied, "--trainable", "all", "--dtype", dtype], name, tmp_path / "bases.safetensors")
    for phase in ("forward", "backward"):
        assert told["by_phase_bytes"][phase] == pytest.approx(measured["by_phase_bytes"][phase], rel=1e-3), phase
    assert told["trainable_parameters"] == measured["trainable_parameters"]


def test_a_decoder_without_padding_has_less_than_is_predicted(causal: list[str], tmp_path: Path) -> None:
    """transformers leaves its mask out, having looked into it: so does no prediction."""
    measured, told = both([*causal, "--lengths", "fixed:64"], "full", tmp_path / "none.safetensors")
    assert measured["peak_bytes"] < told["peak_bytes"] < 1.1 * measured["peak_bytes"]


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("name", DYNAMIC)
def test_what_the_support_decides_is_predicted_at_its_dearest(
    words: list[str], name: str, dtype: str, tmp_path: Path
) -> None:
    """Which rows of dL/dy are zero (the last block's, but for [CLS]), which rows cover a step: data, so all."""
    measured, told = both([*words, "--dtype", dtype], name, tmp_path / "bases.safetensors")
    assert 0.998 * measured["peak_bytes"] <= told["peak_bytes"] <= 1.04 * measured["peak_bytes"]
    for phase, read in measured["by_phase_bytes"].items():
        assert 0.998 * read <= told["by_phase_bytes"][phase] <= 1.1 * read, phase


def test_what_needs_values_to_be_set_up_is_refused(words: list[str]) -> None:
    request = asked(words)
    with pytest.raises(NotPredictable, match=r"shira .*measure it"):
        predict_peak(request, METHODS["shira"], request.workload())


def test_a_model_that_asks_for_values_is_refused(tmp_path: Path) -> None:
    """T5's head looks for the last token of each row."""
    sizes = {"d_model": 16, "d_kv": 8, "num_heads": 2, "d_ff": 32, "num_layers": 1, "vocab_size": 50}
    ids = {"eos_token_id": 1, "pad_token_id": 0, "decoder_start_token_id": 0}
    config = {"model_type": "t5", "architectures": ["T5ForSequenceClassification"], **sizes, **ids}
    request = asked(shape(tmp_path, config))
    with pytest.raises(NotPredictable, match=r"the model's step asks for values \(.*measure it"):
        predict_peak(request, METHODS["full"], request.workload())


def test_of_all_methods_those_are_predicted_that_can_be(words: list[str]) -> None:
    """What was named stays, and fails in its row."""
    everything, named = asked(words), asked([*words, "--methods", "shira", "lora"])
    workload = everything.workload()
    assert predictable(everything, workload).methods == tuple(PREDICTABLE)
    assert predictable(named, workload) is named


def test_a_model_that_does_not_fit_here(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Seven billion parameters, 12.6 GiB of weights in bf16, in a process that allocates none of it."""
    words = ["--predict", "--model", "llama-2-7b", "--dtype", "bf16", "--batch-size", "1", "--max-length", "8"]
    assert main([*words, "--methods", "lora", "--out", str(tmp_path), "--json", "--quiet"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"full", "lora", "frozen"}
    assert told["frozen"]["peak_bytes"] > 6_738_000_000 * 2
    assert told["full"]["peak_bytes"] > told["lora"]["peak_bytes"] > told["frozen"]["peak_bytes"]
    assert torch.get_default_dtype() is torch.float32


def test_a_rerun_and_a_dry_run_measure_nothing(
    words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["--predict", *words, "--methods", "lora", "--out", str(tmp_path)]
    assert main([*words, "--dry-run"]) == 0
    *cells, time = capsys.readouterr().out.splitlines()
    assert cells == [f"{name}: to be predicted" for name in ("full", "lora", "frozen")]
    assert time.startswith("time: about ")
    assert not list(tmp_path.glob("predicted/*"))
    assert main([*words, "--quiet"]) == 0
    table = capsys.readouterr().out
    assert "predicted on tensors without data" in table and "lora" in table
    before = sorted(tmp_path.rglob("*.json"))
    assert main([*words, "--quiet"]) == 0
    assert sorted(tmp_path.rglob("*.json")) == before and capsys.readouterr().out == table


def test_a_method_that_fails_is_a_row_and_the_exit_code(
    words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["--predict", *words, "--methods", "shira", "--out", str(tmp_path), "--quiet"]
    assert main(words) == 1
    out = capsys.readouterr().out
    assert "shira: error: NotPredictable: shira cannot be set up without values" in out
    assert "1.000x" in out  # the others are told all the same
