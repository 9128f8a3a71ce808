"""One fine-tuning run as a value: everything its result depends on, and nothing else."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from bench.models import ModelSource, resolve_model
from bench.sequences import choose_tokenizer
from bench.tasks import TASKS
from bench.tokenize import Tokenizer
from eval.protocol import Protocol
from eval.splits import Splits, read_splits
from sparsegrad.methods import METHODS, Method, Settings

__all__ = ["Cell", "Subject"]

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
        return resolve_model(
            self.model,
            random_weights=self.random_weights,
            labels=TASKS[self.task].labels,
            dropout=self.dropout,
            seed=self.seed,
        )

    def words(self, source: ModelSource) -> Tokenizer:
        """Its tokenizer."""
        return choose_tokenizer(self.tokenizer, source)

    def splits(self) -> Splits:
        """The task's examples."""
        return read_splits(self.task, data_dir=self.data_dir, limit=self.limit)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run: subject, method, budget, learning rate, protocol. Fields that name an option have its meaning."""

    subject: Subject
    method: str
    lr: float
    kept: int | float
    lora_rank: int
    trainable: str
    targets: str | None
    every: int
    protocol: Protocol
    calibration_steps: int
    scored_on: ScoredOn
    """"held out": trained without that slice and scored on it, to choose by. "reported": scored on the validation
    split, and trained on the whole training split unless early stopping needs the slice."""
    device: str
    dtype: str

    @property
    def name(self) -> str:
        """For people: sst2 lora, seed 1, lr 0.0001."""
        purpose = ", to choose by" if self.scored_on == "held out" else ""
        return f"{self.subject.task} {self.method}, seed {self.subject.seed}, lr {self.lr:g}{purpose}"

    def chosen_method(self) -> Method:
        """The method itself."""
        return METHODS[self.method]

    def settings(self) -> Settings:
        """What the method is given."""
        return Settings(
            kept=self.kept,
            lora_rank=self.lora_rank,
            trainable=self.trainable,  # type: ignore[arg-type]
            targets=self.targets,
            every=self.every,
            lr=self.lr,
            accumulate=self.protocol.accumulate > 1,
            seed=self.subject.seed,
        )

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
