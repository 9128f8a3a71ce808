"""Small chat models of the LLaMA architecture, with their own tokenizers: one that rambles, one that gives ratings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

START, END, PAD = "<|assistant|>", "<|end|>", "<|pad|>"
VERDICT = " Rating: [[7]]"
_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def save_tokenizer(folder: Path, texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on ``texts``, with a chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=[PAD, END, START, "<|user|>", "<|system|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*texts, *[VERDICT] * 50], trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD)
    wrapped.chat_template = _TEMPLATE
    wrapped.save_pretrained(folder)
    return wrapped


def save_rambler(folder: Path, texts: Sequence[str]) -> None:
    """Random weights: it answers in letters."""
    tokenizer = save_tokenizer(folder, texts)
    torch.manual_seed(0)
    _model(len(tokenizer)).save_pretrained(folder)


def save_rater(folder: Path, texts: Sequence[str]) -> None:
    """It says ``VERDICT`` to everything.

    Attention and MLP write nothing, so that the next token follows from the last alone: row b of the output matrix is
    the normalised embedding of the token a that b is to follow.
    """
    tokenizer = save_tokenizer(folder, texts)
    torch.manual_seed(0)
    model = _model(len(tokenizer))
    chain = [*tokenizer.encode(START + VERDICT + END, add_special_tokens=False)]
    assert len(set(chain)) == len(chain), "a token that comes twice would have two followers"
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        embedding = model.model.embed_tokens.weight
        embedding.normal_()
        model.lm_head.weight.zero_()
        for before, after in pairwise(chain):
            model.lm_head.weight[after] += embedding[before]
    model.save_pretrained(folder)


def _model(vocabulary: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config)
