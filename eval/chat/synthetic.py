"""Conversations and a causal model of the project's own making, for runs without data: no verdict on the paper."""

from __future__ import annotations

import random
from typing import Any

from bench.models import ModelSource
from eval.chat.conversation import Conversation, Role, Turn
from eval.chat.sources import Parts

__all__ = ["LLAMA", "SYNTHETIC", "generated", "small_llama", "small_tokenizer"]

SYNTHETIC = "synthetic"
LLAMA = "small-llama"

_TREES = {"train": 600, "validation": 100}
_SEED = 11
_WORDS = 24
_SPECIAL = ("<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>")
_TEMPLATE = (
    "<s>{% for message in messages %}<|{{ message['role'] }}|> {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %} </s>{% endif %} {% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 256,
    # Near 1 / sqrt(128): with 0.02 too little of a word passes the untrained attention for the MLP to learn from.
    "initializer_range": 0.09,
    "tie_word_embeddings": False,
    "use_cache": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def generated(limit: int | None = None) -> Parts:
    """Trees of one or two turns: asked for two words, the model is to say the word that follows each in a fixed ring.

    `limit`: trees of each part at most.
    """
    parts = {name: tuple(_tree(name, at) for at in range(count))[:limit] for name, count in _TREES.items()}
    return Parts(train=parts["train"], valid=parts["validation"], dropped={})


def _tree(part: str, at: int) -> Conversation:
    draw, words = random.Random(f"{_SEED} {part} {at}"), _words()
    turns: list[Turn] = []
    for _ in range(draw.randint(1, 2)):
        asked = draw.choices(range(_WORDS), k=draw.randint(2, 4))
        sides: tuple[tuple[Role, int], ...] = (("user", 0), ("assistant", 1))
        turns += [Turn(role=role, text=" ".join(words[(i + step) % _WORDS] for i in asked)) for role, step in sides]
    return Conversation(tree=f"{part} {at}", turns=tuple(turns))


def _words() -> list[str]:
    words = [consonant + vowel for consonant in "bdfgklmnprst" for vowel in "aeiou"]
    random.Random(_SEED).shuffle(words)
    return words[:_WORDS]


def small_tokenizer() -> Any:
    """A word a token, with a chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: at for at, token in enumerate([*_SPECIAL, "<unk>", *_words()])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=list(_SPECIAL[3:]),
    )
    made.chat_template = _TEMPLATE
    return made


def small_llama(*, seed: int) -> ModelSource:
    """A LLaMA of three layers, 128 wide, with random weights drawn from ``seed``."""
    from transformers import AutoConfig

    config = AutoConfig.for_model("llama", vocab_size=len(_SPECIAL) + 1 + _WORDS, **_SHAPE)
    return ModelSource(
        name=LLAMA,
        preset=None,
        hub_id=None,
        folder=None,
        random_weights=True,
        config=config,
        causal=True,
        seed=seed,
    )
