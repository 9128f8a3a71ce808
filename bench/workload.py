"""What every measurement runs on: one model and its batches, as one value, the same each time."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.batches import Batch, Padding, active_token_share, collate, fingerprint
from bench.errors import BadRequest
from bench.lengths import DEFAULT_LENGTHS, LengthLaw
from bench.models import ModelSource, max_positions, resolve_model
from bench.sequences import SYNTHETIC_CLASSES, Sequences, choose_tokenizer, from_examples, from_law
from bench.tasks import TASKS, read_task

__all__ = ["Workload", "make_workload"]

_LORA_RANK = 7  # the paper's for base models; for those it does not name, ours
_LEAST = {"batch_size": 1, "max_length": 4, "batches": 1, "calibration_steps": 0}


@dataclass(frozen=True, kw_only=True, eq=False)
class Workload:
    """A model and its batches. Equal requests give equal weights, tensors and fingerprints."""

    name: str
    """Model and text: minilm-l6/cola, roberta-base/synthetic."""
    build: Callable[[], torch.nn.Module]
    """A fresh module at each call: fp32, CPU, train mode, the same weights. Can be pickled."""
    outline: Callable[[], torch.nn.Module]
    """The module on the meta device: its names and shapes, at no cost."""
    batches: tuple[Batch, ...]
    """For training; CPU tensors as `bench.batches.collate` makes them."""
    calibration_batches: tuple[Batch, ...]
    """For calibration; of other examples than `batches` where description["calibration_disjoint"]."""
    model_fingerprint: str
    data_fingerprint: str
    description: dict[str, Any]
    """What the record says of it; JSON types."""
    lora_rank: int
    every: int
    """Block stride of the tuned layers."""
    targets: str | None
    """Regular expression over module names; None: the MLP linears, found by structure."""


def make_workload(
    *,
    model: str,
    random_weights: bool = False,
    tokenizer: str | None = None,
    task: str | None = None,
    data_dir: Path | None = None,
    lengths: LengthLaw = DEFAULT_LENGTHS,
    padding: Padding = "max",
    batch_size: int,
    max_length: int,
    batches: int,
    calibration_steps: int,
    dropout: float = 0.0,
    limit: int | None = None,
    seed: int = 0,
) -> Workload:
    """The workload that the command line asks for.

    Arguments:
        model: preset, folder with a config.json, or hub id; with `random_weights` only its shape is used.
        tokenizer: folder, preset or hub id; None takes the model's own, or for random weights a stand-in if
            the model has none at hand.
        task, data_dir, limit: GLUE's train split, from `data_dir` or the hub; task None gives random ids
            of `lengths`.
        padding: every batch to `max_length`, or to its own longest.
        batch_size, max_length: examples, and tokens an example at most.
        batches, calibration_steps: how many batches of each kind.
        dropout: set in every place the configuration has one.

    Raises BadRequest, one line, for anything that cannot be had or has no use here.
    """
    _check_numbers(
        batch_size=batch_size,
        max_length=max_length,
        batches=batches,
        calibration_steps=calibration_steps,
    )
    if padding not in ("max", "longest"):
        raise BadRequest(f"--padding {padding!r} is not known; give max or longest")
    if not 0 <= dropout < 1:
        raise BadRequest(f"--dropout {dropout:g} is no probability below 1; give 0 to 0.99")
    _check_text(task, tokenizer=tokenizer, data_dir=data_dir, limit=limit, lengths=lengths)

    labels = TASKS[task].labels if task else SYNTHETIC_CLASSES
    source = resolve_model(
        model,
        random_weights=random_weights,
        labels=labels,
        dropout=dropout,
        seed=seed,
    )
    _check_positions(max_length, source)
    need = (batches + calibration_steps) * batch_size
    generator = torch.Generator().manual_seed(seed)
    if task is None:
        sequences = from_law(lengths, source, need=need, max_length=max_length, generator=generator)
    else:
        words = choose_tokenizer(tokenizer, source)
        examples = read_task(task, data_dir=data_dir, limit=limit)
        _check_count(task, len(examples), batch_size, limit)
        sequences = from_examples(
            examples,
            words,
            source,
            need=need,
            max_length=max_length,
            generator=generator,
        )
        sequences.description.update(text=task, text_source="hub" if data_dir is None else str(data_dir))
    made = _batches(sequences, source, batch_size, max_length if padding == "max" else None)
    preset = source.preset
    return Workload(
        name=f"{source.name}/{task or 'synthetic'}",
        build=source.build,
        outline=source.outline,
        batches=made[:batches],
        calibration_batches=made[batches:],
        model_fingerprint=source.fingerprint(),
        data_fingerprint=fingerprint(made),
        description={
            "model": source.name,
            "weights": "random" if random_weights else "pretrained",
            "head": "causal" if source.causal else "regression" if labels == 1 else f"{labels} classes",
            "dropout": dropout,
            **sequences.description,
            "vocabulary": source.config.vocab_size,
            "padding": padding,
            "max_length": max_length,
            "batch_size": batch_size,
            "active_token_share": round(active_token_share(made[:batches]), 4),
            "examples": sequences.examples,
            "epochs": round(batches * batch_size / sequences.examples, 4),
            "calibration_disjoint": need <= sequences.examples,
        },
        lora_rank=preset.lora_rank if preset else _LORA_RANK,
        every=preset.every if preset else 1,
        targets=preset.targets if preset else None,
    )


def _batches(
    sequences: Sequences,
    source: ModelSource,
    batch_size: int,
    width: int | None,
) -> tuple[Batch, ...]:
    return tuple(
        collate(
            sequences.encodings[start : start + batch_size],
            None if source.causal else sequences.labels[start : start + batch_size],
            pad_id=source.config.pad_token_id,
            width=width,
        )
        for start in range(0, len(sequences.encodings), batch_size)
    )


def _check_numbers(**counts: int) -> None:
    for name, value in counts.items():
        if value < _LEAST[name]:
            option = "--" + name.replace("_", "-")
            raise BadRequest(f"{option} {value} is too small; give {_LEAST[name]} or more")


def _check_positions(max_length: int, source: ModelSource) -> None:
    most = max_positions(source.config)
    if most is not None and max_length > most:
        raise BadRequest(f"--max-length {max_length} is more than {source.name} holds; give {most} or less")


def _check_text(
    task: str | None,
    *,
    tokenizer: str | None,
    data_dir: Path | None,
    limit: int | None,
    lengths: LengthLaw,
) -> None:
    """A known task, and no option that would be ignored: its user expects it to do something."""
    names = ", ".join(TASKS)
    if task is not None:
        if task not in TASKS:
            raise BadRequest(f"unknown task {task!r}; --task takes one of {names}")
        if lengths != DEFAULT_LENGTHS:
            raise BadRequest(f"--lengths {lengths} has no use with --task {task}, whose text has its own")
        return
    for option, value in (("--tokenizer", tokenizer), ("--data-dir", data_dir), ("--limit", limit)):
        if value is not None:
            raise BadRequest(f"{option} {value} has no use without --task; add --task NAME ({names})")


def _check_count(task: str, count: int, batch_size: int, limit: int | None) -> None:
    if count < batch_size:
        or_else = "" if limit is None else f", or raise --limit {limit}"
        raise BadRequest(
            f"{task} has {count} examples here, too few for one batch of {batch_size}; "
            f"give --batch-size {count} or less{or_else}"
        )
