"""The methods that bench and eval compare, behind one interface: prepare(model, settings) -> Prepared.

A method is data: which basis it wants, and the one function that puts it into the model. What trains beside it
(``trainable``), the optimizer and the step are the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from .adapter import compact_layers, layer_tensors
from .bases import Bases, Kind
from .convert import convert
from .core import Core
from .errors import SparseGradError
from .executions import ExecutionName
from .limits import drop_zero_rows, frozen
from .optim import SparseGradOptimizer
from .rivals import adapter_file, lora, shira
from .roles import Target, find_targets
from .selection import selection_of


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every method is given; a method reads what concerns it.

    Attributes:
        kept: entries of a layer's gradient a step, count (int) or share (float).
        core: (r, c) of a fixed support; None: the default for ``kept``.
        fixed_basis: the bases a fixed support's core is cut from: "per-block", or "shared" (their slices once a role).
        lora_rank: rank of LoRA's factors (the paper: 7 base, 10 large, 32 LLaMA); its alpha is twice the rank.
        trainable: "mlp": the MLP linears (or what stands for them) and the classification head; "all": everything else
            trains too, dense under AdamW (the paper).
        targets, every: which linears (``roles.find_targets``); the same for every method.
        lr, weight_decay: of the one optimizer.
        accumulate: whether several backwards may precede a step (costs the dynamic methods a dense buffer a layer).
        seed: of SHiRA's random places (LoRA's factors come from torch's global generator).
    """

    kept: int | float = 0.01
    core: Core | None = None
    fixed_basis: Literal["per-block", "shared"] = "per-block"
    lora_rank: int = 7
    trainable: Literal["mlp", "all"] = "mlp"
    targets: str | None = None
    every: int = 1
    lr: float = 1e-4
    weight_decay: float = 0.0
    accumulate: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.trainable not in ("mlp", "all"):
            raise SparseGradError(f"trainable={self.trainable!r}: give 'mlp' or 'all'")
        if self.fixed_basis not in ("per-block", "shared"):
            raise SparseGradError(f"fixed_basis={self.fixed_basis!r}: give 'per-block' or 'shared'")
        if self.lora_rank < 1:
            raise SparseGradError(f"lora_rank={self.lora_rank}: give 1 or more")


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A model ready for the train step, its optimizer (None where nothing trains) and what it trains.

    ``trainable_parameters``: elements that require grad. ``updated_parameters``: elements a step changes (k of a
    rotated weight). ``adapter_bytes``: what has to be kept of the tuned linears beside the base model, as the method's
    own file keeps it (a trained W whole; head and file header left out).
    """

    model: nn.Module
    optimizer: SparseGradOptimizer | None
    trainable_parameters: int
    updated_parameters: int
    adapter_bytes: int


Apply = Callable[[nn.Module, Settings, Bases | None], nn.Module]
Kept = Callable[[nn.Module], Iterable[Tensor]]


def _trained(model: nn.Module) -> Iterable[Tensor]:
    """What requires grad."""
    return (p for p in model.parameters() if p.requires_grad)


@dataclass(frozen=True, kw_only=True)
class Method:
    """One row of every table: its command-line name, one line of help, the basis it asks for, and how it is applied.

    ``fixed``: its support is chosen at calibration, which needs ``kept`` and ``core`` for it (``calibration``).
    ``file``: the tensors its adapter file holds for the tuned linears. ``ranked``: its size is ``lora_rank``.
    ``trains``: False for a limit that has nothing to learn. ``same_as``: the method whose numbers it computes in
    another way. ``beside``: the methods that claims about it are made against.
    """

    name: str
    summary: str
    basis: Kind | None
    apply: Apply
    fixed: bool = False
    file: Kept = _trained
    ranked: bool = False
    trains: bool = True
    same_as: str | None = None
    beside: tuple[str, ...] = ()

    def calibration(self, settings: Settings) -> dict[str, Any] | None:
        """The options of ``calibrate`` that its bases want, JSON types; None where there is nothing to calibrate."""
        basis = self._basis(settings)
        if basis is None:
            return None
        own = {"kept": settings.kept, "core": settings.core} if self.fixed else {}
        return {"basis": basis, "targets": settings.targets, "every": settings.every, **own}

    def _basis(self, settings: Settings) -> str | None:
        """The kind of bases that calibration has to make; None for none."""
        if self.fixed:
            return settings.fixed_basis
        return None if self.basis == "none" else self.basis

    def prepare(self, model: nn.Module, settings: Settings, bases: Bases | None = None) -> Prepared:
        """Put the method into ``model`` (in place), choose what trains, build the optimizer.

        Args:
            bases: what ``calibrate(**method.calibration(settings))`` gave on this model; None where that is None.
        Raises:
            SparseGradError: bases are missing, or a setting does not fit the model.
        """
        wanted = self._basis(settings)
        given = None if bases is None else bases.kind
        if given != wanted:
            needed = f"bases of basis={wanted!r} (see calibrate)" if wanted else "no bases"
            raise SparseGradError(f"{self.name} needs {needed}; given {'none' if given is None else repr(given)}")
        head = _head(model)
        rest = [] if settings.trainable == "mlp" or not self.trains else _outside(model, settings)
        model = self.apply(model, settings, bases)
        adapter_bytes = sum(tensor.nbytes for tensor in self.file(model))
        for parameter in (*head, *rest) if self.trains else ():
            parameter.requires_grad_(True)
        model.train()
        training = [p for p in model.parameters() if p.requires_grad]
        lr, decay = settings.lr, settings.weight_decay
        return Prepared(
            model=model,
            optimizer=SparseGradOptimizer(training, lr=lr, weight_decay=decay) if training else None,
            trainable_parameters=sum(p.numel() for p in training),
            updated_parameters=sum(_updated(p) for p in training),
            adapter_bytes=adapter_bytes,
        )


def _updated(parameter: Tensor) -> int:
    selection = selection_of(parameter)
    return parameter.numel() if selection is None else selection.kept


def _head(model: nn.Module) -> list[nn.Parameter]:
    """Parameters of a newly made head: what stands outside the pretrained body and is not a language model's output."""
    body = getattr(model, "base_model", model)
    if body is model or getattr(model, "get_output_embeddings", lambda: None)() is not None:
        return []
    inside = {id(p) for p in body.parameters()}
    return [p for p in model.parameters() if id(p) not in inside]


def _outside(model: nn.Module, settings: Settings) -> list[nn.Parameter]:
    """Every parameter outside the MLP linears."""
    inside = {id(p) for target in _found(model, settings) for p in target.module.parameters()}
    return [p for p in model.parameters() if id(p) not in inside]


def _found(model: nn.Module, settings: Settings) -> list[Target]:
    return find_targets(model, targets=settings.targets, every=settings.every)


def _freeze(model: nn.Module) -> nn.Module:
    return model.requires_grad_(False)


def _full(model: nn.Module, settings: Settings, bases: Bases | None) -> nn.Module:
    """Dense training of the MLP linears."""
    _freeze(model)
    for target in _found(model, settings):
        target.module.requires_grad_(True)
    return model


def _sparsegrad(execution: ExecutionName) -> Apply:
    def apply(model: nn.Module, settings: Settings, bases: Bases | None) -> nn.Module:
        bases = bases or Bases.none(model, targets=settings.targets, every=settings.every)
        model = _full(model, settings, bases)
        return convert(
            model,
            bases,
            kept=settings.kept,
            execution=execution,
            accumulate=settings.accumulate,
            targets=settings.targets,
            every=settings.every,
        )

    return apply


def _compact(model: nn.Module, settings: Settings, bases: Bases | None) -> nn.Module:
    """Everything frozen but each layer's ``values``."""
    assert bases is not None
    return convert(
        _freeze(model),
        bases,
        kept=settings.kept,
        support="fixed",
        core=settings.core,
        execution="planned",
        targets=settings.targets,
        every=settings.every,
    )


def _lora(*, factor_a_trains: bool) -> Apply:
    def apply(model: nn.Module, settings: Settings, bases: Bases | None) -> nn.Module:
        return lora(model, _found(model, settings), settings.lora_rank, factor_a_trains=factor_a_trains)

    return apply


def _shira(model: nn.Module, settings: Settings, bases: Bases | None) -> nn.Module:
    return shira(model, _found(model, settings), settings.lora_rank, settings.seed)


def _frozen(*, drop: bool) -> Apply:
    def apply(model: nn.Module, settings: Settings, bases: Bases | None) -> nn.Module:
        found = _found(model, settings)
        if drop:
            drop_zero_rows(found)
        return frozen(model)

    return apply


_ALL = (
    Method(name="full", summary="full fine-tuning of the MLP linears: dense gradients, AdamW", basis=None, apply=_full),
    Method(
        name="lora",
        summary="LoRA on the same linears, through peft",
        basis=None,
        apply=_lora(factor_a_trains=True),
        file=adapter_file,
        ranked=True,
    ),
    Method(
        name="lora-fa",
        summary="LoRA whose factor A stays as drawn, through peft",
        basis=None,
        apply=_lora(factor_a_trains=False),
        file=adapter_file,
        ranked=True,
    ),
    Method(
        name="shira",
        summary="SHiRA, random entries of W, as many as LoRA's, through peft",
        basis=None,
        apply=_shira,
        file=adapter_file,
        ranked=True,
    ),
    Method(
        name="meprop",
        summary="MeProp: top-k of dL/dW in the original space",
        basis="none",
        apply=_sparsegrad("sd"),
    ),
    Method(
        name="sparsegrad-regular",
        summary="SparseGrad, shared bases, plain dense products",
        basis="shared",
        apply=_sparsegrad("regular"),
    ),
    Method(
        name="sparsegrad-sd",
        summary="SparseGrad, shared bases, sparse-by-dense products: zero rows left out",
        basis="shared",
        apply=_sparsegrad("sd"),
        same_as="sparsegrad-regular",
        beside=("sparsegrad-regular",),
    ),
    Method(
        name="sparsegrad-planned",
        summary="SparseGrad, shared bases, weight in the original space, cheapest order of products",
        basis="shared",
        apply=_sparsegrad("planned"),
        same_as="sparsegrad-regular",
        beside=("sparsegrad-regular", "sparsegrad-sd"),
    ),
    Method(
        name="sparsegrad-compact",
        summary="SparseGrad, fixed support in a small core of per-block bases: k values train, W is frozen",
        basis="per-block",
        fixed=True,
        apply=_compact,
        file=lambda model: layer_tensors(compact_layers(model)).values(),
        beside=("lora", "frozen-drop", "frozen"),
    ),
    Method(
        name="frozen",
        summary="the limit: forward and input gradients only, nothing trains",
        basis=None,
        apply=_frozen(drop=False),
        trains=False,
    ),
    Method(
        name="frozen-drop",
        summary="the limit with zero rows of dL/dy left out",
        basis=None,
        apply=_frozen(drop=True),
        trains=False,
    ),
)
METHODS: Mapping[str, Method] = {method.name: method for method in _ALL}


def method_named(name: str) -> Method:
    """The method of that name; SparseGradError lists the known ones."""
    if name not in METHODS:
        raise SparseGradError(f"unknown method {name!r}: give one of {', '.join(METHODS)}")
    return METHODS[name]
