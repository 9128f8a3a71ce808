"""A BERT small enough to fine-tune in a second, and all nine GLUE tasks in small, each learnable."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from bench.tasks import TASKS, Task
from eval.cell import Cell, Subject
from eval.protocol import PROTOCOLS

CONFIG = {
    "model_type": "bert",
    "vocab_size": 200,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
}
TRAIN, VALIDATION = 60, 21
WORDS = ["the", "a", "small", "large", "row", "of", "trees", "stands", "here", "where", "we", "wait", "for", "rain"]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Warnings that transformers and accelerate give on any CPU run are theirs; ours stay errors."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(transformers|accelerate|torch\.utils\.data|torch\.amp)\b")
        yield


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the shape alone, for --model with --random-weights."""
    made = tmp_path_factory.mktemp("models") / "tiny"
    made.mkdir()
    (made / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    return made


@pytest.fixture(scope="session")
def tiny_glue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DIR/TASK/SPLIT.tsv of every task; the label is told by one word of the text."""
    made = tmp_path_factory.mktemp("glue")
    for task in TASKS.values():
        (made / task.name).mkdir()
        for split in task.splits:
            rows = _rows(task, TRAIN if split == "train" else VALIDATION, random.Random(f"{task.name} {split}"))
            (made / task.name / f"{split}.tsv").write_text(rows, encoding="utf-8")
    return made


def _rows(task: Task, count: int, draw: random.Random) -> str:
    lines = ["\t".join(task.header)]
    for at in range(count):
        label: float = draw.choice((0.0, 2.5, 5.0)) if task.regression else at % task.labels
        texts = [" ".join(draw.choices(WORDS, k=draw.randint(2, 6))) + f" mark{label:g}" for _ in task.columns]
        lines.append("\t".join([*texts, f"{label:g}", str(at)]))
    return "\n".join(lines) + "\n"


@pytest.fixture
def cell(tiny_encoder: Path, tiny_glue: Path) -> Callable[..., Cell]:
    """cell(task=..., steps=..., ...): a short run of the tiny encoder; other words replace a field of the same name."""

    def make(*, task: str = "sst2", seed: int = 0, limit: int | None = None, **words: object) -> Cell:
        protocol = {"batch_size": 8, "max_length": 16, "dropout": 0.0, "steps": None if "epochs" in words else 6}
        for name in (*protocol, "epochs", "patience", "accumulate", "padding", "warmup_share", "max_grad_norm"):
            if name in words:
                protocol[name] = words.pop(name)  # type: ignore[assignment]
        made = PROTOCOLS["quick"].with_words(**protocol)
        subject = Subject(
            model=str(tiny_encoder),
            random_weights=True,
            tokenizer=None,
            task=task,
            data_dir=tiny_glue,
            limit=limit,
            dropout=made.dropout,
            seed=seed,
        )
        fields = {
            "method": "full",
            "lr": 1e-2,
            "kept": 0.05,
            "lora_rank": 2,
            "trainable": "mlp",
            "targets": None,
            "every": 1,
            "calibration_steps": 2,
            "scored_on": "reported",
            "device": "cpu",
            "dtype": "fp32",
        }
        return Cell(subject=subject, protocol=made, **{**fields, **words})  # type: ignore[arg-type]

    return make


@pytest.fixture
def tiny_batch() -> dict[str, torch.Tensor]:
    """Four sequences of eight ids with labels, for a calibration of the tiny encoder."""
    ids = torch.randint(0, 200, (4, 8), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.tensor([0, 1, 0, 1])}
