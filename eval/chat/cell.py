"""One fine-tuning on conversations as a value: everything its result depends on, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from bench.errors import BadRequest
from bench.models import ModelSource, local_folder, resolve_model
from eval.cell import Run
from eval.chat.conversation import fingerprint_of
from eval.chat.rendering import Rendering
from eval.chat.saving import Form
from eval.chat.sources import Parts, read_parts
from eval.chat.synthetic import LLAMA, SYNTHETIC, generated, small_llama, small_tokenizer
from eval.mtbench.speaker import tokenizer_in
from eval.mtbench.templates import Template, template_for
from eval.watch import Watch

__all__ = ["Cell", "Subject"]

# Texts that show which tokenizer and which template it is.
_TEXTS_COMPARED = 64


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A causal model and conversations in a template's words. Fields that name an option have its meaning."""

    model: str
    random_weights: bool
    tokenizer: str | None
    conv_template: str | None
    data: str
    lang: str | None
    limit: int | None
    max_length: int
    seed: int
    """Of the order of the conversations, of random weights and of a method's own draws."""

    def source(self) -> ModelSource:
        """The model; BadRequest where it cannot be had, or is an encoder."""
        if self.model == LLAMA:
            return small_llama(seed=self.seed)
        source = resolve_model(self.model, random_weights=self.random_weights, labels=2, dropout=0.0, seed=self.seed)
        if not source.causal:
            raise BadRequest(
                f"--model {self.model} is an encoder, which writes no replies; give a causal language model"
            )
        return source

    def rendering(self, source: ModelSource) -> Rendering:
        """Conversations to tokens, by the tokenizer and its template or FastChat's."""
        tokenizer = self._tokenizer(source)
        template: Template = template_for(tokenizer, self.conv_template, model=self.tokenizer or self.model)
        return Rendering(tokenizer, template, max_length=self.max_length)

    def _tokenizer(self, source: ModelSource) -> Any:
        folder = source.folder
        if self.tokenizer is not None:
            folder = local_folder(self.tokenizer, "--tokenizer")
        elif self.model == LLAMA:
            return small_tokenizer()
        if folder is None:
            raise BadRequest(f"--model {self.model} brings no tokenizer here; give --tokenizer FOLDER")
        return tokenizer_in(folder)

    def parts(self) -> Parts:
        """The conversations."""
        return (
            generated(self.limit) if self.data == SYNTHETIC else read_parts(self.data, lang=self.lang, limit=self.limit)
        )

    def text(self) -> Hashable:
        """All seeds share it."""
        return replace(self, seed=0)

    def text_fingerprints(self) -> dict[str, str]:
        """Of the conversations, and of what tokenizer and template make of them.

        BadRequest where nothing is left to learn or to score, and for ids that the model has not.
        """
        source, parts = self.source(), self.parts()
        rendering = self.rendering(source)
        rendered, _ = rendering.rendered(parts.valid)
        learned = any(rendering.rendered([conversation])[0] for conversation in parts.train)
        if len({text.tree for text in rendered}) < 2 or not learned:
            raise BadRequest(
                f"--max-length {self.max_length} cuts the conversations before their replies, or they hold the text of "
                "special tokens; give more, or other --data"
            )
        told = repr([(text.input_ids, text.labels) for text in rendered[:_TEXTS_COMPARED]])
        highest = max(max(text.input_ids) for text in rendered)
        if highest >= source.config.vocab_size:
            raise BadRequest(
                f"the tokenizer gives id {highest}, the model's vocabulary ends at {source.config.vocab_size - 1}; "
                "give the --tokenizer that belongs to the model"
            )
        data = f"{fingerprint_of(parts.train)} {fingerprint_of(parts.valid)}"
        return {
            "data": hashlib.sha256(data.encode()).hexdigest()[:16],
            "tokens": hashlib.sha256(told.encode()).hexdigest()[:16],
        }

    def model_fingerprint(self) -> str:
        """Of configuration, weights and seed."""
        return self.source().fingerprint()


@dataclass(frozen=True, kw_only=True)
class Cell(Run):
    """One run on conversations: the linears alone train."""

    kind: ClassVar[str] = "chat"
    """Of its record."""

    subject: Subject
    gradient_checkpointing: bool
    save: Form | None
    models: Path
    """Folder of what is saved, each run under its own name there."""

    @property
    def name(self) -> str:
        """For people: lora, seed 1, lr 0.0001."""
        return f"{self.method}, seed {self.subject.seed}, lr {self.lr:g}"

    def config(self) -> dict[str, Any]:
        """JSON types, for the record. Where it ran and where the model lies is not what the result depends on."""
        told = asdict(self)
        subject = told.pop("subject")
        for name in ("device", "models"):
            told.pop(name)
        core = None if self.core is None else list(self.core)
        return {**subject, **told, "core": core}

    def calibration_config(self) -> dict[str, Any] | None:
        """What the method's bases depend on, which runs may share; None for a method that wants none."""
        options = self.chosen_method().calibration(self.settings())
        if options is None:
            return None
        names = ("calibration_steps", "dtype")
        own = {name: getattr(self, name) for name in names}
        return {**asdict(self.subject), **own, "batch_size": self.protocol.batch_size, **options}

    def train(self, folder: Path, bases: Path | None, threads: int, watch: Watch | None) -> dict[str, Any]:
        """Fine-tune, score and save, see `eval.chat.finetune.finetune`."""
        from eval.chat.finetune import finetune

        assert watch is None, "eval.chat searches no rates"
        return finetune(self, folder, bases, threads)

    def calibrate(self, path: Path, threads: int) -> dict[str, Any]:
        """Make the bases, see `eval.chat.finetune.calibrate_cell`."""
        from eval.chat.finetune import calibrate_cell

        return calibrate_cell(self, path, threads)
