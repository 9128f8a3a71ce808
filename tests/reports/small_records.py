"""Records as the commands write them, small, with figures that a test plants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bench.record import Record, Status
from reports.reading.folders import Source

CPU: dict[str, Any] = {
    "host": "here",
    "device": "cpu",
    "cpu": "Abacus",
    "threads": 2,
    "gpu": None,
    "python": "3.11",
    "libraries": {"torch": "2"},
}
GPU: dict[str, Any] = {**CPU, "device": "cuda", "gpu": {"name": "Big GPU", "clocks": {"sm_mhz": 1}}}


def record(kind: str, key: str = "00ff", **words: Any) -> Record:
    """An ok record of that kind; words replace its fields."""
    made = Record(
        kind=kind,
        key=key,
        status=Status.OK,
        config={"model": "roberta-base", "random_weights": False, "task": "cola", "padding": "max", "dtype": "fp32",
                "batch_size": 16, "max_length": 128, "kept": 0.01},
        fingerprints={"code": "c0de", "data": "da7a", "model": "0de1"},
        environment=CPU,
        command=f"python -m bench.{kind}",
        seed=0,
        started="2026-01-02T03:04:05+00:00",
        ended="2026-01-02T03:05:05+00:00",
        result={},
    )  # fmt: skip
    return replace(made, **words)


def source(made: Record, folder: str = "here") -> Source:
    """As if it had been read from that folder."""
    return Source(folder=folder, record=made)


def speed(times_ms: Mapping[str, Sequence[float]], *, aa: Sequence[float] | None = None, **words: Any) -> Record:
    """A speed record whose rows have these samples; ``aa``: full a second time (default: as the first)."""
    rows = [
        {
            "method": name,
            "status": "ok",
            "reason": None,
            "steps_per_s": 1e3 / float(np.mean(samples)),
            "samples_ms": list(samples),
            "forward_ms": 1.0,
            "backward_ms": 2.0,
            "optimizer_ms": 0.5,
            "peak_bytes": 1000,
            "peak_instrument": "tracked",
            "losses": [0.7, 0.6],
        }
        for name, samples in times_ms.items()
    ]
    twin = {"method": "full (A/A)", "status": "ok", "samples_ms": list(aa if aa is not None else times_ms["full"])}
    result = {"rows": rows, "aa": twin, "zero_row_share": 0.9, "workload": {"active_token_share": 0.1}}
    return record("speed", **{"result": result, **words})


def peak(method: str, nbytes: int, *, instrument: str = "tracked", key: str | None = None, **words: Any) -> Record:
    """A peak record."""
    made = record("peak", key or f"{method.replace('-', '')}{nbytes}")
    config = {**made.config, "method": method}
    result = {"instrument": instrument, "peak_bytes": nbytes, "by_phase_bytes": {"forward": nbytes, "backward": 10}}
    return replace(made, **{"config": config, "result": result, **words})


def quality(
    method: str,
    seed: int,
    predictions: Sequence[int],
    labels: Sequence[int],
    *,
    task: str = "sst2",
    lr: float = 1e-4,
    scored_on: str = "reported",
    **words: Any,
) -> Record:
    """A fine-tuning record on a task whose metric is accuracy."""
    made = record("glue", f"{method.replace('-', '')}{task}{seed}x{lr:g}".replace("-", "m").replace(".", "p"))
    protocol = {"name": "paper", "batch_size": 16, "max_length": 128, "padding": "max"}
    config = {
        **made.config,
        "task": task,
        "method": method,
        "lr": lr,
        "lora_rank": 7,
        "protocol": protocol,
        "scored_on": scored_on,
        "seed": seed,
    }
    score = float(np.mean(np.array(predictions) == np.array(labels)))
    split = {"labels": list(labels), "predictions": list(predictions), "scores": {"accuracy": score},
             "headline": score, "loss": 0.1}  # fmt: skip
    result = {
        "splits": {"validation" if scored_on == "reported" else "held out": split},
        "steps": 10,
        "train_s": 2.0,
        "calibration_s": 0.0,
        "peak": {"instrument": "tracked", "peak_bytes": 1000},
        "trainable_parameters": 10,
        "updated_parameters": 10,
        "adapter_bytes": 40,
    }
    return replace(made, **{"config": config, "seed": seed, "result": result, **words})


def gradients(shares: Mapping[str, Sequence[float]], *, figure: str = "energy_share", **words: Any) -> Record:
    """A gradient record of one role: by space, the figure of each block, at two steps."""
    rows = [
        {"step": step, "linear": f"l{block}", "role": "up", "block": block, "space": space, figure: value}
        for space, values in shares.items()
        for block, value in enumerate(values)
        for step in (10, 20)
    ]
    return record("gradients", **{"result": {"rows": rows}, **words})


def chat(method: str, losses: Sequence[float], *, seed: int = 0, **words: Any) -> Record:
    """A conversation-tuning record: one loss a conversation, of ten tokens each."""
    made = record("chat", f"{method.replace('-', '')}{seed}")
    result = {
        "conversations": [f"c{number}" for number in range(len(losses))],
        "nll": [10 * loss for loss in losses],
        "tokens": [10] * len(losses),
        "valid_loss": float(np.mean(losses)),
        "valid_loss_by_token": float(np.mean(losses)),
        "steps": 10,
        "train_s": 2.0,
        "peak": {"instrument": "tracked", "peak_bytes": 1000},
        "trainable_parameters": 10,
        "updated_parameters": 10,
        "model_parameters": 100,
        "adapter_bytes": 40,
        "saved": None,
    }
    config = {**made.config, "method": method, "lr": 1e-3, "seed": seed}
    return replace(made, **{"config": config, "seed": seed, "result": result, **words})
