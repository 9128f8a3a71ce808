"""Where a workload's token sequences come from: a task's text under a tokenizer, or a stated length law."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.batches import shuffled
from bench.errors import BadRequest
from bench.hub import cached_snapshot, snapshot
from bench.lengths import LengthLaw
from bench.models import ModelSource, local_folder
from bench.presets import PRESETS
from bench.tasks import Example
from bench.tokenize import (
    TOKENIZER_FILES,
    Encoding,
    HashTokenizer,
    PretrainedTokenizer,
    SpecialIds,
    Tokenizer,
    has_tokenizer,
)

__all__ = ["SYNTHETIC_CLASSES", "Sequences", "choose_tokenizer", "from_examples", "from_law"]

SYNTHETIC_CLASSES = 2
_BESIDE_TOKENIZER = ("tokenizer_config.json", "special_tokens_map.json", "merges.txt", "config.json")


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Token sequences and their labels, in the order in which batches take them."""

    encodings: list[Encoding]
    labels: Tensor
    """(N,) int64 classes or float32 scores; a causal model has its own."""
    examples: int
    """How many distinct ones there were to draw from."""
    description: dict[str, Any]
    """What of this goes into the record; JSON types."""


def from_law(
    law: LengthLaw, source: ModelSource, *, need: int, max_length: int, generator: torch.Generator
) -> Sequences:
    """`need` sequences of random words between a first and a last token, with labels of two classes."""
    special = SpecialIds.of(source.config)
    first, vocabulary = special.first_word, source.config.vocab_size
    encodings = []
    for length in law.draw(need, max_length=max_length, generator=generator):
        words = torch.randint(first, vocabulary, (length - 2,), generator=generator).tolist()
        encodings.append(Encoding(input_ids=[special.cls, *words, special.sep], token_type_ids=None))
    return Sequences(
        encodings=encodings,
        labels=torch.randint(0, SYNTHETIC_CLASSES, (need,), generator=generator),
        examples=need,
        description={"text": "synthetic", "lengths": str(law), "tokenizer": "none (random ids)"},
    )


def from_examples(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    source: ModelSource,
    *,
    need: int,
    max_length: int,
    generator: torch.Generator,
) -> Sequences:
    """`need` sequences in a seeded order, around again where there are fewer examples than that.

    Only the examples that are used are tokenised. BadRequest for a tokenizer whose ids the model has not.
    """
    order = shuffled(len(examples), need, generator=generator)
    used = sorted(set(order))
    encodings = tokenizer.encode([examples[i].texts for i in used], max_length=max_length)
    highest, vocabulary = max(max(one.input_ids) for one in encodings), source.config.vocab_size
    if highest >= vocabulary:
        raise BadRequest(
            f"tokenizer {tokenizer.name} gives id {highest}, "
            f"the model's vocabulary ends at {vocabulary - 1}; give the --tokenizer that belongs to the model"
        )
    by_index = dict(zip(used, encodings, strict=True))
    return Sequences(
        encodings=[by_index[i] for i in order],
        labels=torch.tensor([examples[i].label for i in order]),
        examples=len(examples),
        description={"tokenizer": tokenizer.kind, "tokenizer_name": tokenizer.name},
    )


def choose_tokenizer(asked: str | None, source: ModelSource) -> Tokenizer:
    """The one asked for; else the model's own; else, for random weights alone, the stand-in."""
    segments = getattr(source.config, "type_vocab_size", 0) > 1
    if asked is not None:
        preset = PRESETS.get(asked)
        folder = None if preset else local_folder(asked, "--tokenizer")
        if folder is None:
            folder = _fetch(preset.hub_id if preset else asked, asked)
        return PretrainedTokenizer.load(folder, name=asked, segments=segments)
    folder, hub_id = source.folder, source.hub_id
    if folder is None and hub_id is not None:
        folder = cached_snapshot(hub_id)
    if hub_id is not None and not source.random_weights and not (folder and has_tokenizer(folder)):
        folder = _fetch(hub_id, hub_id)
    if folder is not None and (has_tokenizer(folder) or not source.random_weights):
        return PretrainedTokenizer.load(folder, name=hub_id or str(folder), segments=segments)
    special = SpecialIds.of(source.config)
    return HashTokenizer(vocabulary=source.config.vocab_size, special=special, segments=segments)


def _fetch(hub_id: str, asked: str) -> Path:
    return snapshot(
        hub_id,
        choices=[(*TOKENIZER_FILES, *_BESIDE_TOKENIZER)],
        complete=has_tokenizer,
        asked=f"the tokenizer of {asked!r}",
        remedy="give --tokenizer FOLDER",
    )
