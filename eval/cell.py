"""One fine-tuning run as a value: everything its result depends on, and nothing else; of a task, or of any text."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from bench.models import ModelSource, resolve_model
from bench.sequences import choose_tokenizer
from bench.tokenize import Tokenizer
from eval.forgetting import OtherText
from eval.job import Source
from eval.protocol import Protocol
from eval.splits import Splits, read_splits
from eval.synthetic import ENCODER, small_encoder
from eval.tasks import TASKS
from eval.watch import Watch
from sparsegrad.methods import METHODS, Method, Settings

__all__ = ["Cell", "Run", "Subject"]

ScoredOn = Literal["reported", "held out"]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A pretrained model and a task's text: what a run starts from, before any method."""

    model: str
    random_weights: bool
    tokenizer: str | None
    task: str
    data_dir: Path | None
    limit: int | None
    dropout: float
    seed: int
    """Of the new head, the order of the examples, dropout and a method's own draws."""

    def source(self) -> ModelSource:
        """The model; BadRequest where it cannot be had."""
        labels = TASKS[self.task].labels
        if self.model == ENCODER:
            return small_encoder(labels=labels, dropout=self.dropout)
        return resolve_model(
            self.model, random_weights=self.random_weights, labels=labels, dropout=self.dropout, seed=self.seed
        )

    def words(self, source: ModelSource) -> Tokenizer:
        """Its tokenizer."""
        return choose_tokenizer(self.tokenizer, source)

    def splits(self) -> Splits:
        """The task's examples."""
        return read_splits(self.task, data_dir=self.data_dir, limit=self.limit)

    def text(self) -> Hashable:
        """All seeds share it."""
        return replace(self, seed=0)

    def text_fingerprints(self) -> dict[str, str]:
        """Of the examples, and of what the tokenizer makes of them."""
        source, splits = self.source(), self.splits()
        tokens = splits.tokens(self.words(source), vocabulary=source.config.vocab_size)
        return {"data": splits.fingerprint(), "tokens": tokens}

    def model_fingerprint(self) -> str:
        """Of configuration, weights and the new head's seed."""
        return self.source().fingerprint()


@dataclass(frozen=True, kw_only=True)
class Run:
    """What every run is told, whatever it learns from. Fields that name an option have its meaning."""

    subject: Source
    method: str
    lr: float
    kept: int | float
    core: tuple[int, int] | None = None
    fixed_basis: str = "per-block"
    lora_rank: int
    trainable: str = "mlp"
    targets: str | None
    every: int
    protocol: Protocol
    calibration_steps: int
    device: str
    dtype: str

    def chosen_method(self) -> Method:
        """The method itself."""
        return METHODS[self.method]

    def settings(self) -> Settings:
        """What the method is given."""
        return Settings(
            kept=self.kept,
            core=self.core,
            fixed_basis=self.fixed_basis,  # type: ignore[arg-type]
            lora_rank=self.lora_rank,
            trainable=self.trainable,  # type: ignore[arg-type]
            targets=self.targets,
            every=self.every,
            lr=self.lr,
            accumulate=self.protocol.accumulate > 1,
            seed=self.subject.seed,
        )


@dataclass(frozen=True, kw_only=True)
class Cell(Run):
    """One run on a task: subject, method, budget, learning rate, protocol."""

    kind: ClassVar[str] = "glue"
    """Of its record."""
    subject: Subject
    scored_on: ScoredOn
    """"held out": trained without that slice and scored on it, to choose by. "reported": scored on the validation
    split, and trained on the whole training split unless early stopping needs the slice."""
    forgetting: OtherText | None = None
    """The text that the pretrained model is asked for before and after; None: it is not asked."""

    @property
    def name(self) -> str:
        """For people: sst2 lora, seed 1, lr 0.0001."""
        purpose = ", to choose by" if self.scored_on == "held out" else ""
        return f"{self.subject.task} {self.method}, seed {self.subject.seed}, lr {self.lr:g}{purpose}"

    def config(self) -> dict[str, Any]:
        """JSON types, for the record. The device is told by the record's environment: the result is not its own."""
        told = asdict(self)
        subject = told.pop("subject")
        subject["data_dir"] = None if self.subject.data_dir is None else str(self.subject.data_dir)
        told.pop("device")
        return {**subject, **told}

    def calibration_config(self) -> dict[str, Any] | None:
        """What the method's bases depend on, which cells may share; None for a method that wants none."""
        options = self.chosen_method().calibration(self.settings())
        if options is None:
            return None
        names = ("model", "random_weights", "tokenizer", "task", "data_dir", "limit", "dropout", "seed")
        shared = {
            name: value for name, value in self.config().items() if name in (*names, "calibration_steps", "dtype")
        }
        protocol = self.protocol
        batches = {"batch_size": protocol.batch_size, "padding": protocol.padding, "max_length": protocol.max_length}
        return {**shared, **batches, **options}

    def train(self, folder: Path, bases: Path | None, threads: int, watch: Watch | None) -> dict[str, Any]:
        """Fine-tune and score, see `eval.finetune.finetune`."""
        from eval.finetune import finetune

        return finetune(self, folder, bases, threads, watch)

    def calibrate(self, path: Path, threads: int) -> dict[str, Any]:
        """Make the bases, see `eval.finetune.calibrate_cell`."""
        from eval.finetune import calibrate_cell

        return calibrate_cell(self, path, threads)
