"""The paper's protocol keeps the best checkpoint: what is reported is its score, not the last one's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from eval.cell import Cell
from eval.finetune import calibrate_cell, finetune
from eval.protocol import PROTOCOLS
from eval.splits import Collator, rows_of
from sparsegrad import Bases


def scores(made: Cell, checkpoint: Path, bases: Path | None) -> list[float]:
    """What the model of a checkpoint predicts on the validation split, put together by hand."""
    source = made.subject.source()
    words, split = made.subject.words(source), made.subject.splits().reported["validation"]
    torch.manual_seed(made.subject.seed)
    known = None if bases is None else Bases.load(bases)
    prepared = made.chosen_method().prepare(source.build(), made.settings(), known)
    prepared.model.load_state_dict(torch.load(checkpoint / "state.pt", weights_only=True))
    batch = Collator.of(made.protocol, words)(rows_of(split, words, max_length=made.protocol.max_length))
    with torch.no_grad():
        return prepared.model.eval()(**batch).logits[:, 0].tolist()


@pytest.mark.parametrize("method", ["full", "lora", "sparsegrad-planned", "sparsegrad-compact"])
def test_what_is_reported_is_the_best_checkpoints(cell: Callable[..., Cell], tmp_path: Path, method: str) -> None:
    """A rate at which the score goes up and down again: best and last differ, and the best one's is told."""
    made = cell(method=method, task="stsb", epochs=30, patience=2, lr=3e-2, trainable="all")
    bases = None if made.calibration_config() is None else tmp_path / "bases.safetensors"
    if bases is not None:
        calibrate_cell(made, bases, 1)
    told = finetune(made, tmp_path / "run", bases, 1)
    best, last = told["best_step"], told["steps"]
    assert best < last
    reported = told["splits"]["validation"]["predictions"]
    assert reported == pytest.approx(scores(made, tmp_path / "run" / f"checkpoint-{best}", bases), abs=1e-4)
    assert reported != pytest.approx(scores(made, tmp_path / "run" / f"checkpoint-{last}", bases), abs=1e-2)


def test_the_papers_protocol_stops_early_and_the_quick_one_does_not() -> None:
    assert PROTOCOLS["paper"].patience is not None and PROTOCOLS["quick"].patience is None
