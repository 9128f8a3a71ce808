"""A task and an encoder of the project's own making, for runs without data: no verdict on GLUE or the paper is drawn.

A text is three telling words, two of one side and one of the other, among words that tell nothing; the label is the
side of the two. The words are made of syllables and belong to their sides at random, so that nothing is known before
training, and the majority cannot be read off an untrained body: a classifier on top of a frozen one stays near chance.
"""

from __future__ import annotations

import random

from bench.models import ModelSource
from bench.tasks import Example, Task

__all__ = ["ENCODER", "SYNTHETIC", "generated", "small_encoder"]

SYNTHETIC = Task(name="synthetic", columns=("sentence",), labels=2)
ENCODER = "small-encoder"

_EXAMPLES = {"train": 2000, "validation": 1000}
_TELLING, _PLAIN = 20, 40
_SEED = 11
# Linears of 128 x 512. The weights are drawn with a standard deviation near 1 / sqrt(128), not BERT's 0.02: through
# the untrained attention of the latter so little of a word arrives that training the MLP alone learns nothing.
_SHAPE = {
    "vocab_size": 1000,
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.09,
}


def generated(split: str, limit: int | None = None) -> list[Example]:
    """The first ``limit`` examples (None: all) of "train" (2,000) or "validation" (1,000), labels in turn."""
    sides, plain = _words()
    draw = random.Random(f"{_SEED} {split}")
    examples = []
    for at in range(_EXAMPLES[split]):
        label = at % 2
        telling = [*draw.choices(sides[label], k=2), draw.choice(sides[1 - label])]
        words = telling + draw.choices(plain, k=draw.randint(2, 5))
        draw.shuffle(words)
        examples.append(Example(texts=(" ".join(words),), label=label, idx=at))
    return examples[:limit]


def _words() -> tuple[tuple[list[str], list[str]], list[str]]:
    """The telling words of both sides, and the plain ones."""
    syllables = [consonant + vowel for consonant in "bdfgklmnprst" for vowel in "aeiou"]
    words = [first + second for first in syllables for second in syllables]
    random.Random(_SEED).shuffle(words)
    return (words[:_TELLING], words[_TELLING : 2 * _TELLING]), words[2 * _TELLING : 2 * _TELLING + _PLAIN]


def small_encoder(*, labels: int, dropout: float) -> ModelSource:
    """A BERT of two layers, 128 wide, with random weights: one and the same for all seeds, as a pretrained model is."""
    from transformers import AutoConfig

    shape = {**_SHAPE, "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    kind = "regression" if labels == 1 else "single_label_classification"
    return ModelSource(
        name=ENCODER,
        preset=None,
        hub_id=None,
        folder=None,
        random_weights=True,
        config=AutoConfig.for_model("bert", **shape, num_labels=labels, problem_type=kind),
        causal=False,
        seed=_SEED,
    )
