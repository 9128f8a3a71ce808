"""Which module is at work, forward and backward, and how modules are summed into layers and roles."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

__all__ = ["AtWork", "layer_of", "role_of", "shared_name"]

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")
_LAYER = re.compile(r"(.*?\.(?:\d+|\*))(?:\.|$)")


class AtWork:
    """Use as a context: ``owner()`` is the qualified name of the module that computes at this moment.

    In the forward: the innermost module called. In the backward: the one whose forward made the running autograd node,
    known by the node's sequence number, which autograd counts up in the forward. Outside both: ``rest``, which names
    what else is going on.
    """

    def __init__(self, model: nn.Module) -> None:
        self.rest = ""
        self._names = {module: name for name, module in model.named_modules()}
        self._inside: list[str] = []
        self._since: list[int] = []  # ascending sequence numbers, and who works from each of them on
        self._who: list[str] = []
        self._hooks = ExitStack()

    def __enter__(self) -> AtWork:
        self._hooks.enter_context(register_module_forward_pre_hook(self._enter))
        self._hooks.enter_context(register_module_forward_hook(self._leave, always_call=True))
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.close()

    def begin_step(self) -> None:
        """Forget the last step's nodes."""
        self._since.clear()
        self._who.clear()

    def owner(self) -> str:
        """The module at work; a recomputed forward inside the backward is told as a forward."""
        if self._inside:
            return self._inside[-1]
        node = torch._C._current_autograd_node()
        if node is None:
            return self.rest
        # AccumulateGrad has no forward: its number is the largest there is.
        at = bisect_right(self._since, node._sequence_nr())
        return self._who[at - 1] if 0 < at < len(self._who) else self.rest

    def _enter(self, module: nn.Module, _inputs: Any) -> None:
        self._inside.append(self._names.get(module, self._inside[-1] if self._inside else ""))
        self._turn(self._inside[-1])

    def _leave(self, _module: nn.Module, _inputs: Any, _output: Any) -> None:
        self._inside.pop()
        self._turn(self._inside[-1] if self._inside else self.rest)

    def _turn(self, name: str) -> None:
        self._since.append(torch._C._autograd._get_sequence_nr())
        self._who.append(name)


def shared_name(names: Iterable[str]) -> str:
    """One name for what several modules own: theirs where it is one, else with ``*`` for the numbers of blocks."""
    alike = dict.fromkeys(names)
    return role_of(next(iter(alike))) if len(alike) > 1 else next(iter(alike))


def role_of(name: str) -> str:
    """'encoder.layer.3.output.dense' -> 'encoder.layer.*.output.dense': the same part of every block."""
    return _NUMBER.sub("*", name)


def layer_of(name: str) -> str:
    """'encoder.layer.3.output.dense' -> 'encoder.layer.3': its block; outside blocks the module itself."""
    found = _LAYER.match(name)
    return found[1] if found else name
