"""From a model's logits to predictions, scores and what a record keeps of every item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from bench.tasks import Example
from bench.train import LossNotFinite
from eval.metrics import headline, score
from eval.splits import Row
from eval.tasks import TASKS

__all__ = ["predicted", "scored"]


def predicted(task: str, logits: np.ndarray) -> np.ndarray:
    """A class, or a score, an item; LossNotFinite where the model gives no numbers."""
    if not np.isfinite(logits).all():
        raise LossNotFinite("the model predicts no numbers: lower --lr, or use --dtype fp32")
    return logits.reshape(len(logits)).astype(np.float64) if TASKS[task].regression else logits.argmax(axis=1)


def scored(task: str, trainer: Any, examples: Sequence[Example], rows: Sequence[Row]) -> dict[str, Any]:
    """Every item's prediction beside its label and index, and the metrics. Longest first, for less padding."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]), reverse=True)
    told = trainer.predict([rows[i] for i in order])
    predictions = np.empty(len(rows), dtype=np.float64 if TASKS[task].regression else np.int64)
    predictions[order] = predicted(task, told.predictions)
    labels = np.array([example.label for example in examples])
    return {
        "idx": [example.idx for example in examples],
        "labels": labels.tolist(),
        "predictions": predictions.tolist(),
        "scores": score(task, labels, predictions),
        "headline": headline(task, labels, predictions),
        "loss": _loss(task, told.predictions, labels[order]),
    }


def _loss(task: str, logits: np.ndarray, labels: np.ndarray) -> float:
    """What was trained for, over all items: of the logits alone, so that batches and processes do not matter."""
    wide = torch.from_numpy(logits).double()
    if TASKS[task].regression:
        return float(torch.nn.functional.mse_loss(wide.reshape(-1), torch.from_numpy(labels).double()))
    return float(torch.nn.functional.cross_entropy(wide, torch.from_numpy(labels).long()))
