"""The answers to all questions that a command leaves open: the quick ones, and the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bench.presets import PRESETS as MODELS
from eval.chat.sources import HUB
from eval.chat.synthetic import LLAMA, SYNTHETIC
from eval.protocol import Protocol

__all__ = ["CHAT_PRESETS", "ChatPreset"]


@dataclass(frozen=True, kw_only=True)
class ChatPreset:
    """Fields are the options of the same name."""

    model: str
    data: str
    kept: int | float
    lora_rank: int
    lr: float
    dtype: str
    targets: str | None
    every: int | None
    """None: the model's own, or every block."""
    protocol: Protocol


_LLAMA = MODELS["llama-2-7b"]
CHAT_PRESETS: Mapping[str, ChatPreset] = MappingProxyType(
    {
        "quick": ChatPreset(
            model=LLAMA,
            data=SYNTHETIC,
            kept=0.01,
            lora_rank=7,
            lr=1e-3,
            dtype="fp32",
            targets=None,
            every=None,
            protocol=Protocol(
                name="quick",
                steps=100,
                epochs=None,
                batch_size=16,
                warmup_share=0.1,
                padding="longest",
                max_length=256,
                dropout=0.0,
                patience=None,
            ),
        ),
        # Section 4: one epoch, rate, entries, rank and linears. Batch, length, warmup and dtype are not told there:
        # these are ours, for one GPU of 48 GB.
        "paper": ChatPreset(
            model=_LLAMA.name,
            data=HUB,
            kept=100_000,
            lora_rank=_LLAMA.lora_rank,
            lr=9e-4,
            dtype="bf16",
            targets=_LLAMA.targets,
            every=_LLAMA.every,
            protocol=Protocol(
                name="paper",
                steps=None,
                epochs=1,
                batch_size=8,
                warmup_share=0.03,
                padding="longest",
                max_length=1024,
                dropout=0.0,
                patience=None,
            ),
        ),
    }
)
