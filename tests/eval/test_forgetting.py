"""The loss on other text before and after: of the pretrained head on the trained body, the same tokens each time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, BertConfig, BertForMaskedLM

from bench.errors import BadRequest
from bench.models import ModelSource, resolve_model
from bench.sequences import choose_tokenizer
from eval.cell import Cell
from eval.finetune import calibrate_cell, finetune
from eval.forgetting import MaskedText, OtherText, masked_language_model
from eval.glue import main
from eval.grid.__main__ import main as grid
from sparsegrad.methods import METHODS

TEXTS = ["the small row of trees stands here", "we wait for rain", "a large row", "rain", ""]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = [
    "the",
    "a",
    "small",
    "large",
    "row",
    "of",
    "trees",
    "stands",
    "here",
    "where",
    "we",
    "wait",
    "for",
    "rain",
    "mark0",
    "mark1",
]


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    """A small BERT with a masked-language-model head and a tokenizer."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(SPECIAL) + len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=0.2,
    )
    BertForMaskedLM(config).save_pretrained(tmp_path / "mlm")
    (tmp_path / "mlm" / "vocab.txt").write_text("\n".join([*SPECIAL, *VOCABULARY]))
    return tmp_path / "mlm"


def source_of(folder: Path) -> ModelSource:
    return resolve_model(str(folder), random_weights=False, labels=2, dropout=0.0, seed=0)


def asked(folder: Path) -> MaskedText:
    source = source_of(folder)
    return MaskedText(source, choose_tokenizer(None, source), TEXTS, max_length=16)


def test_it_is_the_pretrained_models_own_loss(pretrained: Path) -> None:
    """By hand, in float64, a text at a time: no padding, no tying, no swap of bodies."""
    text = asked(pretrained)
    oracle = AutoModelForMaskedLM.from_pretrained(pretrained).double().eval()
    wanted = []
    for encoding, hidden in text._rows:
        with torch.no_grad():
            logits = oracle(input_ids=torch.tensor([encoding.input_ids])).logits[0]
        wanted.append(sum(-logits[at].log_softmax(0)[token].item() for at, token in hidden.items()) / len(hidden))
        assert all(encoding.input_ids[at] == SPECIAL.index("[MASK]") and token > 4 for at, token in hidden.items())
    assert len(wanted) == 4 and text.masked >= 4
    assert text.losses(source_of(pretrained).build()) == pytest.approx(wanted, rel=1e-5)
    assert [hidden for _, hidden in asked(pretrained)._rows] == [hidden for _, hidden in text._rows]


def test_a_damaged_body_shows_and_is_left_as_it_was(pretrained: Path) -> None:
    model = source_of(pretrained).build()
    before = asked(pretrained).losses(model)
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    assert asked(pretrained).losses(model) == before and model.training
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, weights[name]), name
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.weight.mul_(-3)  # type: ignore[union-attr, index]
    assert asked(pretrained).losses(model) != pytest.approx(before, rel=1e-3)


@pytest.fixture
def run(cell: Callable[..., Cell], pretrained: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """run(method, lr): the record's result of a short run of the small pretrained model."""

    def make(method: str, lr: float) -> dict[str, Any]:
        made = cell(method=method, lr=lr, steps=4)
        subject = replace(made.subject, model=str(pretrained), random_weights=False)
        other = OtherText.of("sst2", subject.data_dir, None)
        made = replace(made, subject=subject, forgetting=other)
        path = None if made.calibration_config() is None else tmp_path / f"{method}.safetensors"
        if path is not None:
            calibrate_cell(made, path, 1)
        return finetune(made, tmp_path / f"{method} {lr}", path, 1)

    return make


@pytest.mark.parametrize("method", ["full", "lora", "meprop", "sparsegrad-planned", "sparsegrad-compact"])
def test_what_trains_little_forgets_little(run: Callable[..., dict[str, Any]], method: str) -> None:
    """The trained body is the one that is asked: at a vanishing rate nothing changes, at a high one it does."""
    assert METHODS[method].trains
    still, moved = run(method, 1e-12)["forgetting"], run(method, 3e-2)["forgetting"]
    assert still["after"] == pytest.approx(still["before"], rel=1e-4)
    assert moved["before"] == still["before"] and len(moved["after"]) == len(moved["before"]) > 100
    assert max(abs(a - b) for a, b in zip(moved["after"], moved["before"], strict=True)) > 1e-3


def test_other_text_is_of_other_tasks_or_of_a_file(tiny_glue: Path, tmp_path: Path) -> None:
    sst2, cola = OtherText.of("sst2", tiny_glue, None), OtherText.of("cola", tiny_glue, None)
    assert sst2 != cola and len(sst2.read("sst2", tiny_glue)) == 8 * 21
    file = tmp_path / "other.txt"
    file.write_text("One line.\n\n  Another. \n")
    other = OtherText.of("sst2", tiny_glue, file)
    assert other.read("sst2", None) == ["One line.", "Another."]
    file.write_text("Changed.\n")
    with pytest.raises(ValueError, match="has changed"):
        other.read("sst2", None)
    for text, said in ((b"\n", "no text in it"), (b"\xff", "UTF-8")):
        file.write_bytes(text)
        with pytest.raises(BadRequest, match=said):
            OtherText.of("sst2", None, file)
    (tmp_path / "alone" / "sst2").mkdir(parents=True)
    # What eval generates itself is no task of GLUE, whatever a folder is called.
    (tmp_path / "alone" / "synthetic").mkdir()
    (tmp_path / "alone" / "synthetic" / "validation.tsv").write_text("sentence\tlabel\tidx\n")
    with pytest.raises(BadRequest, match="no task beside sst2"):
        OtherText.of("sst2", tmp_path / "alone", None)


def test_without_a_pretrained_head_it_is_refused(pretrained: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    AutoModelForSequenceClassification.from_pretrained(pretrained).save_pretrained(tmp_path / "bare")
    with pytest.raises(BadRequest, match=r"no masked-language-model head \(no cls\.predictions") as refused:
        masked_language_model(source_of(tmp_path / "bare"))
    assert "\n" not in str(refused.value)
    random = resolve_model(str(tiny_encoder), random_weights=True, labels=2, dropout=0.0, seed=0)
    with pytest.raises(BadRequest, match="nothing to forget"):
        masked_language_model(random)


@pytest.mark.parametrize("text", ["One line alone.\n", "\u2603\n\u2604\n"])
def test_too_little_text_is_told_before_anything_is_run(
    pretrained: Path, tiny_glue: Path, tmp_path: Path, text: str
) -> None:
    """One text, or none with a word that the model knows: no interval could be told of them."""
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    words = ["--model", pretrained, "--data-dir", tiny_glue, "--task", "sst2", "--methods", "full", "--max-length", 16]
    argv = [*words, "--out", tmp_path / "out", "--forgetting", "--forgetting-text", tmp_path / "text.txt"]
    for command in (main, grid):
        with pytest.raises(BadRequest, match=r"[01] texts with a word .* 2 or more are needed"):
            command([str(word) for word in argv])
    assert not (tmp_path / "out" / "glue").exists()


def test_the_command_tells_it(
    pretrained: Path, tiny_glue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = ["--model", pretrained, "--data-dir", tiny_glue, "--task", "sst2", "--methods", "full", "lora"]
    short = ["--steps", 4, "--batch-size", 8, "--max-length", 16, "--lr", 1e-2, "--seeds", 2, "--quiet"]
    argv = [str(word) for word in (*shape, *short, "--out", tmp_path / "out", "--forgetting")]
    assert main([*argv, "--json"]) == 0
    for row in json.loads(capsys.readouterr().out)["rows"]:
        told = row["forgetting"]
        assert told["mean"] == pytest.approx(told["after"] - told["before"]) and told["low"] < told["high"]
    assert main(argv) == 0
    assert "forgetting: rise of the masked-language-model loss" in capsys.readouterr().out
    with pytest.raises(BadRequest, match="add --forgetting"):
        main([*argv[:-1], "--forgetting-text", "x"])
