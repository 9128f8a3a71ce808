"""The model that answers: weights, adapter, tokenizer and the words its prompts are wrapped in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from bench.errors import BadRequest
from bench.hub import first_line, quiet
from bench.models import resolve_model
from bench.request import DTYPES
from eval.mtbench.adapters import adapter_files, with_adapter
from eval.mtbench.decoding import Decoder, Said, Wish
from eval.mtbench.items import Question
from eval.mtbench.templates import Template, template_for

__all__ = ["Speaker", "tokenizer_in"]


class Speaker:
    """A loaded chat model. ``name`` is what its answers are filed under."""

    def __init__(self, *, name: str, model: Any, tokenizer: Any, template: Template, config: dict[str, Any]) -> None:
        self.name = name
        self.template = template
        self._config = config
        self._tokenizer = tokenizer
        self._decoder = Decoder(model, tokenizer, template)

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
        """``model``: hub id or folder. ``adapter``: a folder that ``sparsegrad.save`` or PEFT wrote.
        ``conv_template``: FastChat's name; default: the tokenizer's chat template. ``dtype``: fp32 or bf16.

        Raises BadRequest where something cannot be had, and where there is no template (naming close ones).
        """
        source = resolve_model(model, random_weights=False, labels=2, dropout=0.0, seed=0)
        if not source.causal:
            raise BadRequest(f"--model {model} is an encoder, which writes no answers; give a causal language model")
        assert source.folder is not None
        files = adapter_files(adapter) if adapter is not None else []
        # The adapter's own tokenizer was trained with it and may have another template.
        own = adapter is not None and (adapter / "tokenizer_config.json").is_file()
        tokenizer = tokenizer_in(adapter if adapter is not None and own else source.folder)
        template = template_for(tokenizer, conv_template, model=model)
        module: Any = source.build()
        if adapter is not None:
            module = with_adapter(module, adapter)
        config = {
            "model": source.name,
            "model_fingerprint": source.fingerprint(),
            "adapter": None if adapter is None else adapter.resolve().name,
            "adapter_fingerprint": _hash_of(files),
            "template": template.name,
            "template_fingerprint": _hash_of_text(template.prompt(["first", "second"], ["answer"])),
            "dtype": dtype,
        }
        name = source.name if adapter is None else f"{source.name}+{adapter.resolve().name}"
        return cls(
            name=name,
            model=module.to(device=device, dtype=DTYPES[dtype]),
            tokenizer=tokenizer,
            template=template,
            config=config,
        )

    def first_prompt(self, question: Question) -> str:
        """The exact text the model is given for the question's first turn, the tokenizer's own tokens included."""
        ids = self._decoder.encode(self.template.prompt(question.turns[:1], []))
        return str(self._tokenizer.decode(ids, skip_special_tokens=False))

    def config(self) -> dict[str, Any]:
        """What the answers depend on, for a record: model, adapter, template, dtype and their fingerprints."""
        return dict(self._config)

    def say(self, wishes: Sequence[Wish]) -> list[Said]:
        """An answer to each, made together where they fit; each as if it were alone, up to rounding."""
        return self._decoder.say(wishes)


def tokenizer_in(folder: Path) -> Any:
    """The tokenizer whose files lie in the folder; BadRequest where they do not make one."""
    from transformers import AutoTokenizer

    try:
        with quiet():
            return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:
        # Missing files, bad JSON, a class that is not known: each another exception.
        raise BadRequest(f"cannot load the tokenizer in {folder} ({first_line(error)}); a fast tokenizer's files "
                         f"must lie beside the weights") from error  # fmt: skip


def _hash_of(files: Sequence[Path]) -> str | None:
    if not files:
        return None
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _hash_of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
