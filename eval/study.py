"""What one `eval.glue` command asks: tasks x methods x seeds, and the trials that choose each method's rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.errors import BadRequest
from bench.models import ModelSource, max_positions
from bench.record import Record, Status
from bench.request import DTYPES
from eval.budget import equal_rank, kept_entries
from eval.cell import Cell, ScoredOn, Subject
from eval.forgetting import MaskedText, OtherText
from eval.protocol import PAPER_SETTINGS, Protocol
from eval.tasks import TASKS
from eval.tuning import BATCHES
from sparsegrad import SparseGradError
from sparsegrad.methods import METHODS, Settings

__all__ = ["DEFAULT_RATES", "TRIAL_SEED", "Study", "choose"]

# Of every trial. Reported seeds are counted from --seed up, and may not reach it.
TRIAL_SEED = 1_000_000
# Adapters want higher rates than whole weights: each method takes its best of the three.
DEFAULT_RATES = (3e-4, 1e-3, 3e-3)
_DEFAULT_RANK = 7
# Tokens: the special ones of a pair, RoBERTa's four, and one more.
_SHORTEST = 5


@dataclass(frozen=True, kw_only=True)
class Study:
    """One command's question. Fields are the options of the same name."""

    model: str
    random_weights: bool
    tokenizer: str | None
    tasks: tuple[str, ...]
    data_dir: Path | None
    limit: int | None
    methods: tuple[str, ...]
    reference: str
    seeds: int
    seed: int
    lr: tuple[float, ...] | None
    """Learning rates to choose from; None: the paper's for model and task in its protocol, else 3e-4, 1e-3 and 3e-3."""
    tune: int | None
    """Trials a method in Optuna's search for rate and batch; None: no search."""
    kept: int | float
    core: tuple[int, int] | None = None
    fixed_basis: str = "per-block"
    lora_rank: int | None
    budget: str | None
    trainable: str
    protocol: Protocol
    batch_size: int | None
    """None: the paper's for model and task in its protocol, else the protocol's."""
    calibration_steps: int
    margin: float
    """Of non-inferiority, in points: hundredths of the metric."""
    device: str
    dtype: str
    forgetting: bool = False
    forgetting_text: Path | None = None
    allowed: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """(task, method) -> updates, where a budget of time decides (`eval.pilot`); else the protocol does."""

    def __post_init__(self) -> None:
        for name in self.tasks:
            if name not in TASKS:
                raise BadRequest(f"unknown task {name!r}; --task takes any of {', '.join(TASKS)}")
        for name in self.methods:
            if name not in METHODS:
                raise BadRequest(f"unknown method {name!r}; --methods takes any of {' '.join(METHODS)}")
            if not METHODS[name].trains:
                raise BadRequest(f"{name} trains nothing and has no quality to compare; leave it out of --methods")
        if self.reference not in self.methods:
            raise BadRequest(f"--reference {self.reference} is not compared; add it to --methods")
        if self.lr is not None and not all(0 < rate < math.inf for rate in self.lr):
            raise BadRequest(f"--lr {' '.join(map(str, self.lr))}: give rates above 0, such as 1e-4")
        if self.tune is not None and (self.lr is not None or self.batch_size is not None):
            raise BadRequest(f"--tune {self.tune} searches rate and batch; leave out --lr and --batch-size")
        if self.tune is not None and (odd := [batch for batch in BATCHES if batch % self.protocol.accumulate]):
            raise BadRequest(
                f"--accumulate {self.protocol.accumulate} does not divide the batch of {odd[0]}, which --tune may try; "
                f"give a divisor of {BATCHES[0]}"
            )
        if self.protocol.max_length < _SHORTEST:
            raise BadRequest(
                f"--max-length {self.protocol.max_length} holds no pair of texts; give {_SHORTEST} or more"
            )
        for name, least in (("tune", 1), ("seeds", 1), ("calibration_steps", 1), ("lora_rank", 1), ("batch_size", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise BadRequest(f"--{name.replace('_', '-')} {value} is too small; give {least} or more")
        if (self.core is not None or self.fixed_basis != "per-block") and not self._has_core():
            raise BadRequest("--core and --fixed-basis are of a fixed support: add sparsegrad-compact to --methods")
        if self.lora_rank is not None and not any(METHODS[name].ranked for name in self.methods):
            raise BadRequest(f"--lora-rank {self.lora_rank} is of LoRA and its kin: add lora to --methods")
        if not 0 <= self.seed <= TRIAL_SEED - self.seeds:
            raise BadRequest(f"--seed {self.seed} --seeds {self.seeds}: a seed is 0 to {TRIAL_SEED - 1}; give others")
        if self.lora_rank is not None and self.budget in ("params", "bytes"):
            raise BadRequest(f"--budget {self.budget} chooses LoRA's rank; leave out --lora-rank {self.lora_rank}")
        if self.budget == "time" and (self.protocol.steps is None or self.tune is not None):
            raise BadRequest("--budget time chooses each method's steps: give --steps N, and no --epochs or --tune")
        if not 0 <= self.margin < math.inf:
            raise BadRequest(f"--margin {self.margin} is no distance; give points, 0 or more")
        if self.forgetting_text is not None and not self.forgetting:
            raise BadRequest(f"--forgetting-text {self.forgetting_text} has no use alone; add --forgetting")
        if self.dtype not in DTYPES:
            raise BadRequest(f"--dtype {self.dtype!r} is not known; give {' or '.join(DTYPES)}")

    def check_weights(self) -> None:
        """BadRequest for weights that cannot be read, or lack what is asked of them, before anything long is run."""
        if not self.random_weights:
            self.source.build()
        for task in self.tasks:
            if (other := self._other_text(task)) is not None:
                subject = self._subject(task, self.seed)
                source, texts = subject.source(), other.read(task, self.data_dir)
                MaskedText(source, subject.words(source), texts, max_length=self.protocol.max_length)

    def _has_core(self) -> bool:
        return self.budget == "bytes" or any(METHODS[name].fixed for name in self.methods)

    @cached_property
    def source(self) -> ModelSource:
        """The model; BadRequest where it cannot be had, is no encoder, or is smaller than what is asked of it."""
        source = self._subject(self.tasks[0], self.seed).source()
        if source.causal:
            raise BadRequest(f"--model {self.model} is a decoder; eval.glue fine-tunes encoders: give one of those")
        most = max_positions(source.config)
        if most is not None and self.protocol.max_length > most:
            raise BadRequest(f"--max-length {self.protocol.max_length} is more than {source.name} holds; give {most}")
        try:
            kept_entries(source, self._settings(source))
        except SparseGradError as error:
            words = f"--kept {self.kept}" + ("" if self.core is None else " --core {} {}".format(*self.core))
            raise BadRequest(f"{words}: {error}") from None
        return source

    def _settings(self, source: ModelSource) -> Settings:
        """What every method is given, as far as counts of parameters and bytes depend on it."""
        preset = source.preset
        return Settings(
            kept=self.kept,
            core=self.core,
            fixed_basis=self.fixed_basis,  # type: ignore[arg-type]
            lora_rank=self.lora_rank or (preset.lora_rank if preset else _DEFAULT_RANK),
            targets=preset.targets if preset else None,
            every=preset.every if preset else 1,
        )

    @cached_property
    def ranks(self) -> dict[str, int]:
        """Method -> the rank of LoRA and its kin: of equal budget, as asked, or the paper's for the model."""
        settings = self._settings(self.source)
        ranks = dict.fromkeys(self.methods, settings.lora_rank)
        if self.budget in ("params", "bytes"):
            for name in self.methods:
                equal = equal_rank(self.source, METHODS[name], settings, self.budget, DTYPES[self.dtype])  # type: ignore[arg-type]
                ranks[name] = equal or settings.lora_rank
        return ranks

    def rates(self, task: str) -> tuple[float, ...]:
        """The learning rates that every method of a task chooses from."""
        if self.lr is not None:
            return self.lr
        return (self._published(task)[1],) if self._takes_published() else DEFAULT_RATES

    def protocol_of(self, task: str, method: str) -> Protocol:
        """The protocol with the task's batch size, and the method's own updates where time is the budget."""
        steps = self.allowed.get((task, method))
        if self.batch_size is None and self._takes_published():
            return self.protocol.with_words(batch_size=self._published(task)[0], steps=steps)
        return self.protocol.with_words(batch_size=self.batch_size, steps=steps)

    def _takes_published(self) -> bool:
        """Whether rate and batch are the paper's where they are not given; a search finds its own, as the paper did."""
        return self.protocol.name == "paper" and self.tune is None

    def _published(self, task: str) -> tuple[int, float]:
        """The paper's batch size and rate; BadRequest where it gives none."""
        preset = self.source.preset
        if preset is None or (preset.name, task) not in PAPER_SETTINGS:
            raise BadRequest(
                f"the paper gives no batch and rate for {self.model} on {task}; give --lr X and --batch-size N, or "
                "--tune N"
            )
        return PAPER_SETTINGS[preset.name, task]

    def _subject(self, task: str, seed: int) -> Subject:
        return Subject(
            model=self.model,
            random_weights=self.random_weights,
            tokenizer=self.tokenizer,
            task=task,
            data_dir=self.data_dir,
            limit=self.limit,
            dropout=self.protocol.dropout,
            seed=seed,
        )

    def cell(self, task: str, method: str, *, seed: int, lr: float, scored_on: ScoredOn = "reported") -> Cell:
        """One run."""
        preset = self.source.preset
        return Cell(
            subject=self._subject(task, seed),
            method=method,
            lr=lr,
            kept=self.kept,
            core=self.core,
            fixed_basis=self.fixed_basis,
            lora_rank=self.ranks[method],
            trainable=self.trainable,
            targets=preset.targets if preset else None,
            every=preset.every if preset else 1,
            protocol=self.protocol_of(task, method),
            calibration_steps=self.calibration_steps,
            scored_on=scored_on,
            device=self.device,
            dtype=self.dtype,
            forgetting=self._other_text(task) if scored_on == "reported" else None,
        )

    def _other_text(self, task: str) -> OtherText | None:
        if not self.forgetting:
            return None
        if task not in self._other_texts:
            self._other_texts[task] = OtherText.of(task, self.data_dir, self.forgetting_text)
        return self._other_texts[task]

    @cached_property
    def _other_texts(self) -> dict[str, OtherText]:
        return {}

    def trials(self, task: str, method: str) -> list[Cell]:
        """A run a rate, as many for every method; none where there is nothing to choose, or Optuna chooses."""
        rates = () if self.tune is not None else self.rates(task)
        if len(rates) == 1:
            return []
        return [self.cell(task, method, seed=TRIAL_SEED, lr=rate, scored_on="held out") for rate in rates]

    def runs(self, task: str, method: str, chosen: Cell | None) -> list[Cell]:
        """The reported runs, one a seed, with rate and batch of the chosen trial.

        Without one the lowest rate is run: where every trial failed, its failure is told.
        """
        like = chosen or self.cell(task, method, seed=self.seed, lr=self.rates(task)[0])
        seeds = range(self.seed, self.seed + self.seeds)
        told = {"scored_on": "reported", "forgetting": self._other_text(task)}
        return [replace(like, subject=self._subject(task, seed), **told) for seed in seeds]  # type: ignore[arg-type]

    def summary(self, *, kept: str | None = None) -> str:
        """One line on how every method is trained; ``kept`` in place of what is kept and ranked."""
        protocol = self.protocol
        length = f"{protocol.epochs} epochs" if protocol.steps is None else f"{protocol.steps} steps"
        weights = "random weights" if self.random_weights else "pretrained"
        equal = "" if self.budget is None else f", equal {self.budget}"
        rank = f", LoRA rank {self.ranks['lora']}" if "lora" in self.ranks else ""
        own = f"kept {self.kept}{rank}" if kept is None else kept
        return f" ({weights}); {protocol.name}: {length}{equal}, trainable {self.trainable}, {own}"

    def config(self) -> dict[str, Any]:
        """JSON types, for the record."""
        told = asdict(self)
        for name in ("data_dir", "forgetting_text"):
            told[name] = None if told[name] is None else str(told[name])
        told.pop("device")
        told["allowed"] = {f"{task} {method}": steps for (task, method), steps in self.allowed.items()}
        return {**told, "ranks": self.ranks}


def choose(trials: Iterable[tuple[Cell, Record]]) -> Cell | None:
    """The best trial that ran to its end: highest score on the held-out slice, of equals the lower loss; None if none
    did."""
    ended = [
        (cell, record.result["splits"]["held out"])
        for cell, record in trials
        if record.status is Status.OK and record.result["pruned_at"] is None
    ]
    best = max(ended, key=lambda pair: (pair[1]["headline"], -pair[1]["loss"]), default=None)
    return None if best is None else best[0]
