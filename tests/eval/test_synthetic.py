"""The task of the project's own: the same each time, balanced, and not to be had without training the MLP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.errors import BadRequest
from bench.tasks import text_fingerprint
from eval.cell import Cell, Subject
from eval.finetune import finetune
from eval.protocol import PROTOCOLS
from eval.synthetic import ENCODER, SYNTHETIC, generated
from eval.tasks import read_task


def run(folder: Path, *, steps: int, lr: float) -> dict[str, Any]:
    protocol = PROTOCOLS["quick"].with_words(steps=steps, max_length=32)
    subject = Subject(
        model=ENCODER,
        random_weights=True,
        tokenizer=None,
        task=SYNTHETIC.name,
        data_dir=None,
        limit=None,
        dropout=0.0,
        seed=0,
    )
    fields: dict[str, Any] = {"kept": 0.01, "lora_rank": 7, "trainable": "mlp", "targets": None, "every": 1}
    rest: dict[str, Any] = {"calibration_steps": 2, "scored_on": "reported", "device": "cpu", "dtype": "fp32"}
    cell = Cell(subject=subject, protocol=protocol, method="full", lr=lr, **fields, **rest)
    return finetune(cell, folder, None, 1)["splits"]["validation"]


def test_the_text_is_the_same_each_time_and_balanced() -> None:
    train, validation = generated("train"), generated("validation")
    assert text_fingerprint(train) == text_fingerprint(generated("train")) != text_fingerprint(validation)
    assert text_fingerprint(train[:1]) == "7fa49de42505413f"
    for split in (train, validation):
        assert sum(example.label for example in split) == len(split) / 2
    shared = {example.texts for example in train} & {example.texts for example in validation}
    assert len(shared) < 0.01 * len(validation)


def test_the_label_is_the_side_of_two_of_three_telling_words() -> None:
    """A count of words by label finds the sides; with them every label is the majority's."""
    train = generated("train")
    seen: dict[str, list[int]] = {}
    for example in train:
        for word in example.texts[0].split():
            seen.setdefault(word, []).append(int(example.label))
    share = {word: sum(labels) / len(labels) for word, labels in seen.items()}
    sides = {word: (one > 0.5) - (one < 0.5) for word, one in share.items() if abs(one - 0.5) > 0.085}
    right = [(sum(sides.get(w, 0) for w in e.texts[0].split()) > 0) == e.label for e in generated("validation")]
    assert sum(right) / len(right) > 0.95


def test_training_the_mlp_learns_it_and_the_head_alone_does_not(tmp_path: Path) -> None:
    trained = run(tmp_path / "trained", steps=200, lr=3e-3)
    untrained = run(tmp_path / "untrained", steps=1, lr=1e-9)
    assert abs(untrained["headline"] - 0.5) < 0.1 and trained["headline"] > 0.75


def test_generated_text_is_not_read_from_a_folder(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="is generated, not read"):
        read_task(SYNTHETIC.name, data_dir=tmp_path)
    with pytest.raises(BadRequest, match="--limit 0"):
        read_task(SYNTHETIC.name, data_dir=None, limit=0)
    assert len(read_task(SYNTHETIC.name, data_dir=None, split="validation", limit=7)) == 7
