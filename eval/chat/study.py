"""What one `eval.chat` command asks: methods x seeds on the same conversations."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.errors import BadRequest
from bench.models import ModelSource, max_positions
from bench.request import DTYPES
from eval.chat.cell import Cell, Subject
from eval.chat.saving import Form
from eval.chat.synthetic import LLAMA, SYNTHETIC
from eval.protocol import Protocol
from sparsegrad import SparseGradError
from sparsegrad.core import check_core
from sparsegrad.methods import METHODS
from sparsegrad.roles import find_targets, shape_of
from sparsegrad.support import resolve_kept

__all__ = ["Study"]


@dataclass(frozen=True, kw_only=True)
class Study:
    """One command's question. Fields are the options of the same name."""

    model: str
    random_weights: bool
    tokenizer: str | None
    conv_template: str | None
    data: str
    lang: str | None
    limit: int | None
    methods: tuple[str, ...]
    reference: str
    seeds: int
    seed: int
    lr: float
    kept: int | float
    core: tuple[int, int] | None
    fixed_basis: str
    lora_rank: int
    targets: str | None
    every: int | None
    protocol: Protocol
    gradient_checkpointing: bool
    calibration_steps: int
    save: Form | None
    models: Path = field(compare=False)
    device: str
    dtype: str

    def __post_init__(self) -> None:
        for name in self.methods:
            if name not in METHODS:
                raise BadRequest(f"unknown method {name!r}; --methods takes any of {' '.join(METHODS)}")
        if self.reference not in self.methods:
            raise BadRequest(f"--reference {self.reference} is not compared; add it to --methods")
        if self.model == LLAMA and self.data != SYNTHETIC:
            raise BadRequest(f"--data {self.data}: {LLAMA} knows the generated words alone; give --model M as well")
        if self.data == SYNTHETIC and self.lang is not None:
            raise BadRequest(f"--lang {self.lang}: the generated text has no languages; leave it out")
        if not 0 < self.lr < math.inf:
            raise BadRequest(f"--lr {self.lr}: give a rate above 0, such as 1e-4")
        if self.limit is not None and self.limit < 2:
            raise BadRequest(f"--limit {self.limit} is too small; give 2 or more, or leave it out for all")
        for name in ("seeds", "calibration_steps", "lora_rank", "every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadRequest(f"--{name.replace('_', '-')} {value} is too small; give 1 or more")
        fixed = any(METHODS[name].fixed for name in self.methods)
        if not fixed and (self.core is not None or self.fixed_basis != "per-block"):
            raise BadRequest("--core and --fixed-basis are of a fixed support: add sparsegrad-compact to --methods")
        if not 0 <= self.seed <= 2**63 - self.seeds:
            raise BadRequest(f"--seed {self.seed} is out of range; give 0 or more")
        if self.dtype not in DTYPES:
            raise BadRequest(f"--dtype {self.dtype!r} is not known; give {' or '.join(DTYPES)}")

    @property
    def ranked(self) -> bool:
        """Whether any of its methods has LoRA's rank."""
        return any(METHODS[name].ranked for name in self.methods)

    @cached_property
    def source(self) -> ModelSource:
        """The model; BadRequest where it cannot be had, or is smaller than what is asked of it."""
        source = self.subject(self.seed).source()
        most = max_positions(source.config)
        if most is not None and self.protocol.max_length > most:
            raise BadRequest(f"--max-length {self.protocol.max_length} is more than {source.name} holds; give {most}")
        targets, every = self._linears(source)
        try:
            found = find_targets(source.outline(), targets=targets, every=every)
        except SparseGradError as error:
            raise BadRequest(f"--targets: {error}") from None
        words = f"--kept {self.kept}" + ("" if self.core is None else " --core {} {}".format(*self.core))
        try:
            for target in found:
                out, inner = shape_of(target.module)
                kept = resolve_kept(self.kept, out * inner, layer=target.name)
                if self.core is not None:
                    check_core(self.core, kept, out, inner, layer=target.name)
        except SparseGradError as error:
            raise BadRequest(f"{words}: {error}") from None
        return source

    def check_weights(self) -> None:
        """BadRequest for weights that cannot be read or are not this model's, before anything long is run."""
        if not self.source.random_weights:
            self.source.build()

    def _linears(self, source: ModelSource) -> tuple[str | None, int]:
        """As asked, else as the paper tuned this model, else all MLP linears."""
        preset = source.preset
        targets = self.targets or (preset.targets if preset else None)
        return targets, self.every or (preset.every if preset else 1)

    def subject(self, seed: int) -> Subject:
        """Model and conversations under a seed."""
        return Subject(
            model=self.model,
            random_weights=self.random_weights,
            tokenizer=self.tokenizer,
            conv_template=self.conv_template,
            data=self.data,
            lang=self.lang,
            limit=self.limit,
            max_length=self.protocol.max_length,
            seed=seed,
        )

    def runs(self, method: str) -> list[Cell]:
        """The method's runs, one a seed."""
        targets, every = self._linears(self.source)
        return [
            Cell(
                subject=self.subject(seed),
                method=method,
                lr=self.lr,
                kept=self.kept,
                core=self.core,
                fixed_basis=self.fixed_basis,
                lora_rank=self.lora_rank,
                targets=targets,
                every=every,
                protocol=self.protocol,
                gradient_checkpointing=self.gradient_checkpointing,
                calibration_steps=self.calibration_steps,
                save=self.save if METHODS[method].trains else None,
                models=self.models,
                device=self.device,
                dtype=self.dtype,
            )
            for seed in range(self.seed, self.seed + self.seeds)
        ]

    def config(self) -> dict[str, Any]:
        """JSON types."""
        told = asdict(self)
        for name in ("device", "models"):
            told.pop(name)
        targets, every = self._linears(self.source)
        return {**told, "targets": targets, "every": every}
