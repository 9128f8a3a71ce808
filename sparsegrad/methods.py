"""The methods that bench and eval compare, behind one interface: prepare(model, settings) -> Prepared.

A method is data: which basis it wants, and the one function that puts it into the model. What trains beside it
(``trainable``), the optimizer and the step are the same for all.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from .bases import Bases, Kind
from .convert import convert
from .errors import SparseGradError
from .executions import ExecutionName
from .optim import SparseGradOptimizer
from .roles import find_targets, is_transposed
from .selection import selection_of


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every method is given; a method reads what concerns it.

    Attributes:
        kept: entries of a layer's gradient a step, count (int) or share (float).
        lora_rank: rank of LoRA's factors (the paper: 7 base, 10 large, 32 LLaMA); its alpha is twice the rank.
        trainable: "mlp": the MLP linears (or what stands for them) and the classification head; "all": everything else
            trains too, dense under AdamW (the paper).
        targets, every: which linears (``roles.find_targets``); the same for every method.
        lr, weight_decay: of the one optimizer.
        accumulate: whether several backwards may precede a step (costs the dynamic methods a dense buffer a layer).
    """

    kept: int | float = 0.01
    lora_rank: int = 7
    trainable: Literal["mlp", "all"] = "mlp"
    targets: str | None = None
    every: int = 1
    lr: float = 1e-4
    weight_decay: float = 0.0
    accumulate: bool = True

    def __post_init__(self) -> None:
        if self.trainable not in ("mlp", "all"):
            raise SparseGradError(f"trainable={self.trainable!r}: give 'mlp' or 'all'")
        if self.lora_rank < 1:
            raise SparseGradError(f"lora_rank={self.lora_rank}: give 1 or more")


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A model ready for the train step, its optimizer (None where nothing trains) and what it trains.

    ``trainable_parameters``: elements that require grad. ``updated_parameters``: elements a step changes (k of a
    rotated weight).
    """

    model: nn.Module
    optimizer: SparseGradOptimizer | None
    trainable_parameters: int
    updated_parameters: int


Apply = Callable[[nn.Module, Settings, Bases | None], nn.Module]


@dataclass(frozen=True, kw_only=True)
class Method:
    """One row of every table: its command-line name, one line of help, the basis it asks for, and how it is applied.

    ``trains``: False for a limit that has nothing to learn. ``same_as``: the method whose numbers it computes in
    another way.
    """

    name: str
    summary: str
    basis: Kind | None
    apply: Apply
    trains: bool = True
    same_as: str | None = None

    def prepare(self, model: nn.Module, settings: Settings, bases: Bases | None = None) -> Prepared:
        """Put the method into ``model`` (in place), choose what trains, build the optimizer.

        Args:
            bases: what ``calibrate(basis=method.basis)`` gave on this model; None where ``basis`` is None or "none".
        Raises:
            SparseGradError: bases are missing, or a setting does not fit the model.
        """
        wanted = None if self.basis == "none" else self.basis
        given = None if bases is None else bases.kind
        if given != wanted:
            needed = f"bases of basis={wanted!r} (see calibrate)" if wanted else "no bases"
            raise SparseGradError(f"{self.name} needs {needed}; given {'none' if given is None else repr(given)}")
        head = _head(model)
        rest = [] if settings.trainable == "mlp" or not self.trains else _outside(model, settings)
        model = self.apply(model, settings, bases)
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
    targets = find_targets(model, targets=settings.targets, every=settings.every)
    inside = {id(p) for target in targets for p in target.module.parameters()}
    return [p for p in model.parameters() if id(p) not in inside]


def _freeze(model: nn.Module) -> nn.Module:
    return model.requires_grad_(False)


def _full(model: nn.Module, settings: Settings, bases: Bases | None) -> nn.Module:
    """Dense training of the MLP linears."""
    _freeze(model)
    for target in find_targets(model, targets=settings.targets, every=settings.every):
        target.module.requires_grad_(True)
    return model


def _lora(model: nn.Module, settings: Settings, bases: Bases | None) -> nn.Module:
    """LoRA through peft on the same linears, no dropout, no bias."""
    from peft import LoraConfig, get_peft_model

    targets = find_targets(model, targets=settings.targets, every=settings.every)
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=2 * settings.lora_rank,
        lora_dropout=0.0,
        bias="none",
        target_modules=[target.name for target in targets],
        fan_in_fan_out=is_transposed(targets[0].module),
    )
    with warnings.catch_warnings():
        # peft asks transformers by a name that transformers 5.2x deprecates.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        # In the model's dtype like every other method: peft would keep the factors of a half-precision model in fp32.
        wrapped: nn.Module = get_peft_model(model, config, autocast_adapter_dtype=False)
    return wrapped


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


def _frozen(model: nn.Module, settings: Settings, bases: Bases | None) -> nn.Module:
    """Nothing trains; the input embeddings' output requires grad, so that dx flows through every block."""
    _freeze(model)
    tokens: nn.Embedding = model.get_input_embeddings()  # type: ignore[operator]
    for module in model.modules():
        # T5's two stacks look tokens up in modules of their own: told by the vocabulary's size.
        if isinstance(module, nn.Embedding) and module.num_embeddings == tokens.num_embeddings:
            module.register_forward_hook(lambda _module, _inputs, output: output.requires_grad_(True))
    return model


_ALL = (
    Method(name="full", summary="full fine-tuning of the MLP linears: dense gradients, AdamW", basis=None, apply=_full),
    Method(name="lora", summary="LoRA on the same linears, through peft", basis=None, apply=_lora),
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
    ),
    Method(
        name="sparsegrad-planned",
        summary="SparseGrad, shared bases, weight in the original space, cheapest order of products",
        basis="shared",
        apply=_sparsegrad("planned"),
        same_as="sparsegrad-regular",
    ),
    Method(
        name="frozen",
        summary="the limit: forward and input gradients only, nothing trains",
        basis=None,
        apply=_frozen,
        trains=False,
    ),
)
METHODS: Mapping[str, Method] = {method.name: method for method in _ALL}


def method_named(name: str) -> Method:
    """The method of that name; SparseGradError lists the known ones."""
    if name not in METHODS:
        raise SparseGradError(f"unknown method {name!r}: give one of {', '.join(METHODS)}")
    return METHODS[name]
