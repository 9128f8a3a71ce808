"""The model that answers: weights, adapter, tokenizer and the words its prompts are wrapped in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from eval.mtbench.items import Question

__all__ = ["Speaker"]


class Speaker:
    """A loaded chat model."""

    name: str
    """What answers are filed under."""

    @classmethod
    def load(
        cls,
        model: str,
        *,
        adapter: Path | None = None,
        conv_template: str | None = None,
        device: str = "cpu",
        dtype: str = "fp32",
    ) -> Self:
        """``model``: hub id or folder. ``adapter``: a folder with sparsegrad.safetensors or PEFT's adapter_config.json.
        ``conv_template``: FastChat's name; default: the tokenizer's chat template. ``dtype``: fp32 or bf16.

        Raises BadRequest where something cannot be had, and where there is no template (naming close ones).
        """
        raise NotImplementedError

    def first_prompt(self, question: Question) -> str:
        """The exact text the model is given for the question's first turn."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """What the answers depend on, for a record: model, adapter, template, dtype and their fingerprints."""
        raise NotImplementedError
