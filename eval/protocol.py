"""How long and in what batches a model is fine-tuned: the quick protocol, and the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

from bench.batches import Padding
from bench.errors import BadRequest

__all__ = ["PAPER_SETTINGS", "PROTOCOLS", "Protocol"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way of fine-tuning. The learning rate warms up linearly, then decays linearly to 0 at the last step."""

    name: str
    steps: int | None
    """Updates in all; None: `epochs` says."""
    epochs: int | None
    """Passes over the training examples; None: `steps` says."""
    batch_size: int
    """Examples an update."""
    warmup_share: float
    """Share of all updates in which the rate grows."""
    padding: Padding
    """Every batch to `max_length`, or to its own longest: then batches are made of examples of like length."""
    max_length: int
    """Tokens."""
    dropout: float
    """Probability, in every place where the model has one."""
    patience: int | None
    """Evaluations without a better score after which training ends, the best checkpoint loaded; None: never."""
    evaluations_per_epoch: int = 1
    """Evaluations for early stopping."""
    accumulate: int = 1
    """Backwards an update: the batch in so many parts, for less memory."""
    max_grad_norm: float = 1.0
    """The gradient of an update is scaled to this norm at most (the Trainer's own default)."""

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise BadRequest("a protocol counts steps or epochs: give --steps N or --epochs N, not both")
        counts = ("batch_size", "evaluations_per_epoch", "accumulate", "max_length", "steps", "epochs", "patience")
        for name in counts:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadRequest(f"--{name.replace('_', '-')} {value} is too small; give 1 or more")
        if self.batch_size % self.accumulate:
            raise BadRequest(
                f"--accumulate {self.accumulate} does not divide the batch of {self.batch_size}; "
                f"give one of {', '.join(str(n) for n in range(1, self.batch_size + 1) if self.batch_size % n == 0)}"
            )
        for name in ("dropout", "warmup_share"):
            if not 0 <= getattr(self, name) < 1:
                raise BadRequest(
                    f"--{name.replace('_', '-')} {getattr(self, name)} is no share below 1; give 0 to 0.99"
                )
        if self.patience is not None and self.epochs is None:
            raise BadRequest("early stopping evaluates by the epoch: give --epochs N, or leave --patience out")

    def with_words(self, **words: Any) -> Protocol:
        """The protocol with the options that were given (not None) in place of its own."""
        given = {name: value for name, value in words.items() if value is not None}
        if "steps" in given and "epochs" not in given:
            given |= {"epochs": None, "patience": None}
        if "epochs" in given and "steps" not in given:
            given["steps"] = None
        return replace(self, **given)

    def total_steps(self, examples: int) -> int:
        """Updates of a whole run over so many training examples."""
        return self.steps if self.steps is not None else (self.epochs or 0) * self.steps_per_epoch(examples)

    def steps_per_epoch(self, examples: int) -> int:
        """Updates of one pass, the last batch smaller."""
        return -(-examples // self.batch_size)

    def as_json(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            Protocol(
                name="quick",
                steps=400,
                epochs=None,
                batch_size=32,
                warmup_share=0.1,
                padding="longest",
                max_length=128,
                dropout=0.0,
                patience=None,
            ),
            # Section 4 and tables 13-15; length 128 padded to the maximum is the authors' code. Neither says how often
            # they evaluated or how patient they were: these two are ours. Dropout is the models' own.
            Protocol(
                name="paper",
                steps=None,
                epochs=20,
                batch_size=32,
                warmup_share=0.0,
                padding="max",
                max_length=128,
                dropout=0.1,
                patience=6,
                evaluations_per_epoch=2,
            ),
        )
    }
)

# (preset, task) -> batch size and learning rate: tables 13-15, the first scan's reading.
PAPER_SETTINGS: Mapping[tuple[str, str], tuple[int, float]] = MappingProxyType(
    {
        ("bert-base", "stsb"): (32, 1.24e-4),
        ("bert-base", "cola"): (32, 3.15e-5),
        ("bert-base", "mnli"): (32, 6.07e-6),
        ("bert-base", "mrpc"): (32, 1.22e-5),
        ("bert-base", "qnli"): (16, 1.47e-5),
        ("bert-base", "qqp"): (16, 6.51e-5),
        ("bert-base", "rte"): (16, 1.04e-4),
        ("bert-base", "sst2"): (32, 1.02e-5),
        ("roberta-base", "stsb"): (16, 2.10e-5),
        ("roberta-base", "cola"): (16, 1.01e-5),
        ("roberta-base", "mnli"): (32, 1.51e-5),
        ("roberta-base", "mrpc"): (32, 1.09e-5),
        ("roberta-base", "qnli"): (16, 1.91e-5),
        ("roberta-base", "qqp"): (16, 5.11e-6),
        ("roberta-base", "rte"): (16, 3.05e-5),
        ("roberta-base", "sst2"): (16, 1.33e-5),
        ("roberta-large", "stsb"): (32, 1.41e-5),
        ("roberta-large", "cola"): (16, 1.80e-5),
        ("roberta-large", "mnli"): (16, 1.15e-6),
        ("roberta-large", "mrpc"): (32, 2.47e-5),
        ("roberta-large", "qnli"): (16, 8.83e-6),
        ("roberta-large", "qqp"): (32, 7.11e-6),
        ("roberta-large", "rte"): (32, 1.02e-5),
        ("roberta-large", "sst2"): (32, 1.02e-5),
    }
)
