"""What one command line asks to be measured, in the words all commands share."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.errors import BadRequest
from bench.lengths import LengthLaw
from bench.workload import Workload, make_workload
from sparsegrad import Bases
from sparsegrad.methods import METHODS, Method, Prepared, Settings

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Rows of every table, whatever was asked for: what the ratios are taken to, and the limit: nothing trains.
ALWAYS = ("full", "frozen")
# Training batches made; longer runs go round again. One number, so that all cells of a run share one workload.
_BATCHES = 32


@dataclass(frozen=True, kw_only=True)
class Request:
    """A model, its text, the methods and how they train. Fields are the command line's options of the same name."""

    model: str
    random_weights: bool
    tokenizer: str | None
    task: str | None
    data_dir: Path | None
    lengths: LengthLaw
    padding: str
    batch_size: int
    max_length: int
    dropout: float
    trainable: str
    methods: tuple[str, ...]
    kept: int | float
    core: tuple[int, int] | None = None
    fixed_basis: str = "per-block"
    lora_rank: int | None
    lr: float
    calibration_steps: int
    device: str
    dtype: str
    limit: int | None
    seed: int

    def __post_init__(self) -> None:
        for name in self.methods:
            if name not in METHODS:
                raise BadRequest(f"unknown method {name!r}; --methods takes any of {' '.join(METHODS)}")
        if self.dtype not in DTYPES:
            raise BadRequest(f"--dtype {self.dtype!r} is not known; give {' or '.join(DTYPES)}")
        if not 0 < self.lr < math.inf:
            raise BadRequest(f"--lr {self.lr} is no learning rate; give one above 0, such as 1e-4")
        if self.lora_rank is not None and self.lora_rank < 1:
            raise BadRequest(f"--lora-rank {self.lora_rank} is too small; give 1 or more")
        if not 0 <= self.seed < 2**63:
            raise BadRequest(f"--seed {self.seed} is out of range; give 0 to 2**63 - 1")
        if self.calibration_steps < 1:
            raise BadRequest(f"--calibration-steps {self.calibration_steps}: give 1 or more (the paper: 30)")

    def workload(self, batches: int = _BATCHES) -> Workload:
        """The model, ``batches`` for training and those for calibration; BadRequest where they cannot be had."""
        return make_workload(
            model=self.model,
            random_weights=self.random_weights,
            tokenizer=self.tokenizer,
            task=self.task,
            data_dir=self.data_dir,
            lengths=self.lengths,
            padding=self.padding,  # type: ignore[arg-type]
            batch_size=self.batch_size,
            max_length=self.max_length,
            batches=batches,
            calibration_steps=self.calibration_steps,
            dropout=self.dropout,
            limit=self.limit,
            seed=self.seed,
        )

    def settings(self, workload: Workload) -> Settings:
        """What every method is given. One backward a step, so no accumulation buffer."""
        return Settings(
            kept=self.kept,
            core=self.core,
            fixed_basis=self.fixed_basis,  # type: ignore[arg-type]
            lora_rank=workload.lora_rank if self.lora_rank is None else self.lora_rank,
            trainable=self.trainable,  # type: ignore[arg-type]
            targets=workload.targets,
            every=workload.every,
            lr=self.lr,
            accumulate=False,
            seed=self.seed,
        )

    def place(self) -> torch.device:
        """Where it runs; a CUDA device also becomes the current one, which bare CUDA calls mean."""
        device = torch.device(self.device)
        if device.type == "cuda":
            torch.cuda.set_device(device.index or 0)
        return device

    def fresh_model(self, workload: Workload) -> nn.Module:
        """The workload's model, on the device and in the dtype asked for."""
        return workload.build().to(device=self.place(), dtype=DTYPES[self.dtype])

    def prepare(self, method: Method, model: nn.Module, workload: Workload, bases: Bases | None) -> Prepared:
        """``model`` with the method in it. Seeded: LoRA's and dropout's draws are the same each time."""
        torch.manual_seed(self.seed)
        return method.prepare(model, self.settings(workload), bases)

    def chosen(self) -> list[Method]:
        """The methods, with those that are rows of every table, in the registry's order."""
        return [method for name, method in METHODS.items() if name in (*self.methods, *ALWAYS)]

    def config(self, *without: str) -> dict[str, Any]:
        """JSON types, for a record; ``without`` leaves out what the cell does not depend on."""
        told = asdict(self) | {"lengths": str(self.lengths), "methods": [method.name for method in self.chosen()]}
        told["data_dir"] = None if self.data_dir is None else str(self.data_dir)
        return {name: value for name, value in told.items() if name not in without}


def parse_kept(text: str, option: str = "--kept") -> int | float:
    """``22000``, ``22_000`` or ``22k`` (a count), ``0.01`` or ``1%`` (a share), ``dense`` (every entry); BadRequest for
    any other word of ``option``."""
    try:
        if text == "dense":
            return 1.0
        if text.endswith("k") and text[:-1].isdigit():
            return 1000 * int(text[:-1])
        if text.endswith("%"):
            return float(text[:-1]) / 100
        return int(text) if text.replace("_", "").isdigit() else float(text)
    except ValueError:
        raise BadRequest(f"{option} {text!r}: give a count such as 22000 or a share such as 0.01 or 1%") from None


def resolve_device(name: str) -> str:
    """``auto`` becomes cuda where there is one; BadRequest for a device that torch does not see."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise BadRequest(f"--device {name!r} is not known; give auto, cpu, cuda or cuda:N")
    if device.type == "cpu" and device.index is not None:
        raise BadRequest(f"--device {name}: the CPU is one device; give cpu")
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        raise BadRequest(f"--device {name}: torch sees {count} CUDA devices here; give cpu or auto")
    return name


def check_used(request: Request) -> None:
    """BadRequest where a core, its bases or a rank is asked for and no method has one: an option is used or refused."""
    if (request.core is not None or request.fixed_basis != "per-block") and not any(m.fixed for m in request.chosen()):
        fixed = " ".join(method.name for method in METHODS.values() if method.fixed)
        raise BadRequest(f"--core and --fixed-basis are of a fixed support: add {fixed} to --methods")
    if request.lora_rank is not None and not any(method.ranked for method in request.chosen()):
        raise BadRequest(f"--lora-rank {request.lora_rank} is of LoRA and its kin: add lora to --methods")


def check_kept(request: Request, model: nn.Module, workload: Workload, asked: str | None = None) -> None:
    """BadRequest where ``--kept`` (or what was ``asked`` in its place) or ``--core`` does not fit a layer, before
    anything long is run."""
    from sparsegrad import SparseGradError
    from sparsegrad.core import check_core
    from sparsegrad.roles import find_targets, shape_of
    from sparsegrad.support import resolve_kept

    try:
        for target in find_targets(model, targets=workload.targets, every=workload.every):
            out, inner = shape_of(target.module)
            kept = resolve_kept(request.kept, out * inner, layer=target.name)
            if request.core is not None:
                check_core(request.core, kept, out, inner, layer=target.name)
    except SparseGradError as error:
        core = "" if request.core is None else " --core {} {}".format(*request.core)
        raise BadRequest(f"{asked or f'--kept {request.kept}'}{core}: {error}") from None
