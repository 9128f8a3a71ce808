"""Find the MLP linears of a Transformer by structure, and name the role each plays in its block."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn

from .errors import NoTargets, SparseGradError

_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
# In a gated MLP act(gate(x)) * up(x) the two expansions have one shape; only names tell them apart. The paper tunes up
# and down and leaves the gate (LLaMA, T5 v1.1's wi_0).
_GATE = re.compile(r"gate|wi_0$")
# Narrower ones (float8) are quantised: they hold a rounded weight beside its scale, and no arithmetic.
_TRAINED = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, kw_only=True)
class Target:
    """One linear to convert: its qualified name, the module, the role shared over blocks, and its block's index."""

    name: str
    module: nn.Module
    role: str
    block: int

    @property
    def weight(self) -> nn.Parameter:
        """The module's own weight, (out, in), or (in, out) for Conv1D."""
        return weight_of(self.module)


def is_transposed(module: nn.Module) -> bool:
    """True for GPT-2's Conv1D, whose weight is (in, out); told by name so that transformers is not imported."""
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf")


def is_linear(module: nn.Module) -> bool:
    """A dense linear: nn.Linear (or a subclass) or GPT-2's Conv1D."""
    return isinstance(module, nn.Linear) or is_transposed(module)


def weight_of(module: nn.Module) -> nn.Parameter:
    """The weight of a linear."""
    weight = module.weight
    assert isinstance(weight, nn.Parameter)
    return weight


def shape_of(module: nn.Module) -> tuple[int, int]:
    """(out, in) of a linear, whichever way round it stores them."""
    out, inner = weight_of(module).shape
    return (inner, out) if is_transposed(module) else (out, inner)


def find_targets(model: nn.Module, *, targets: str | None = None, every: int = 1) -> list[Target]:
    """The MLP linears of ``model``, in module order.

    By structure: in a repeated block, outside attention, a linear m -> h and one h -> m or h -> 2m (two halves in
    one) with m > h are a feed-forward pair; the gate of a gated MLP stays out. A block is where the qualified name
    first has a number; the role is the rest of the name, with the blocks' own name before it only where two stacks
    (encoder and decoder) would share a role.

    Args:
        targets: a regular expression searched in qualified names, instead of the structure.
        every: take blocks 0, every, 2 * every, ... (the paper's LLaMA: 3).
    Raises:
        NoTargets: nothing found; the text lists the linears there are.
        SparseGradError: a bad regular expression, ``every`` below 1, or a quantised or tied weight.
    """
    if every < 1:
        raise SparseGradError(f"every={every}: give 1 for each block, 3 for each third one")
    # Duplicates stay: a module under two names is tied to itself, and converting one name would untie it.
    linears = {name: m for name, m in model.named_modules(remove_duplicate=False) if is_linear(m)}
    owners = list(model.named_parameters(remove_duplicate=False))
    names = _by_structure(linears) if targets is None else _by_pattern(linears, targets)
    chosen = [name for name in names if _split(name)[1] % every == 0]
    if not chosen:
        raise NoTargets(_nothing_found(linears, targets))
    for name in chosen:
        check_weight(name, linears[name], owners)
    suffixes = Counter(suffix for _, suffix in {(_split(n)[0], _split(n)[2]) for n in chosen})
    found = []
    for name in chosen:
        stack, block, suffix = _split(name)
        role = suffix if suffixes[suffix] == 1 else f"{stack}.*.{suffix}"
        found.append(Target(name=name, module=linears[name], role=role, block=block))
    return found


def _split(name: str) -> tuple[str, int, str]:
    """'bert.encoder.layer.3.output.dense' -> ('bert.encoder.layer', 3, 'output.dense'); no number: ('', 0, name)."""
    parts = name.split(".")
    for at, part in enumerate(parts[:-1]):
        if part.isdigit():
            return ".".join(parts[:at]), int(part), ".".join(parts[at + 1 :])
    return "", 0, name


def _by_structure(linears: dict[str, nn.Module]) -> list[str]:
    blocks: dict[tuple[str, int], list[str]] = {}
    for name in linears:
        stack, block, suffix = _split(name)
        if suffix != name and not _ATTENTION.search(suffix):
            blocks.setdefault((stack, block), []).append(name)
    chosen: set[str] = set()
    for names in blocks.values():
        shapes = {name: shape_of(linears[name]) for name in names}
        for down, (h, m) in shapes.items():
            ups = [name for name, (out, inner) in shapes.items() if inner == h and out in (m, 2 * m)]
            if m > h and ups:
                open_ups = [name for name in ups if not _GATE.search(name)] or ups
                chosen.update((down, *open_ups))
    return [name for name in linears if name in chosen]


def _by_pattern(linears: dict[str, nn.Module], targets: str) -> list[str]:
    try:
        pattern = re.compile(targets)
    except re.error as error:
        raise SparseGradError(f"targets={targets!r} is not a regular expression: {error}") from None
    return [name for name in linears if pattern.search(name)]


def check_weight(
    name: str, module: nn.Module, owners: list[tuple[str, nn.Parameter]], *, word: str = "targets="
) -> None:
    """SparseGradError where a linear's weight cannot be tuned: quantised, or tied to another.

    ``owners``: ``model.named_parameters(remove_duplicate=False)``; ``word``: the option by which to leave it out.
    """
    weight = module.weight
    if not isinstance(weight, nn.Parameter) or weight.dtype not in _TRAINED:
        raise SparseGradError(
            f"{name} holds {getattr(weight, 'dtype', type(weight))} weights (quantised): SparseGrad "
            f"trains floating-point weights; load the model unquantised or leave this layer out with {word}"
        )
    twins = [other for other, p in owners if p is weight and other != f"{name}.weight"]
    if twins:
        raise SparseGradError(f"{name} shares its weight with {twins[0]} (tied): leave both out with {word}")


def _nothing_found(linears: dict[str, nn.Module], targets: str | None) -> str:
    roles = Counter(re.sub(r"(?<=\.)\d+(?=\.)", "*", name) for name in linears)
    listed = ", ".join(f"{role} x{count}" if count > 1 else role for role, count in sorted(roles.items())) or "none"
    given = f"no linear matches targets={targets!r}" if targets is not None else "no MLP linears found by structure"
    return f"{given}; give targets= (a regular expression). Linears of this model: {listed}"
