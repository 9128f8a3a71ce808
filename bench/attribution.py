"""What the memory of a train step consists of: every live storage has a category and belongs to a module.

The tracked peak (``bench.peak``) knows each storage and how long it lives. Here each also gets a category, by who holds
it. A storage counts from its birth as what it becomes: a gradient is one while it is being computed, Adam's moments are
state before the optimizer files them. At each new highest point the list of live storages is kept, so that the peak can
be told apart afterwards, when all of them have become what they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from bench.owners import AtWork, layer_of, role_of, shared_name
from bench.peak import Held, TrackedPeak, _High, storages_of
from bench.saved import SavedForBackward
from sparsegrad.core import Slices
from sparsegrad.methods import Prepared
from sparsegrad.rotation import Rotation
from sparsegrad.selection import dropped_by

__all__ = ["CATEGORIES", "Attribution", "leak_bytes_per_step"]

CATEGORIES: Mapping[str, str] = {
    "weights": "parameters, frozen or not, and buffers that are no bases",
    "bases": "the rotations' U and V, or the slices of them that a core needs",
    "optimizer_state": "what the optimizer keeps from step to step",
    "gradients": "what a parameter's gradient consists of; of a COO gradient its indices and values",
    "batch": "the input",
    "saved_for_backward": "what autograd keeps between forward and backward, but for the above",
    "temporaries": "the rest: results in flight, gradients of activations, the optimizer's intermediate tensors",
}
_RANK = {category: rank for rank, category in enumerate(CATEGORIES)}  # of two claims the first one listed holds
_OPTIMIZER, _AUTOGRAD = "(optimizer)", "(autograd)"


class Attribution(TrackedPeak):
    """TrackedPeak that also tells what is alive at the peak, by category, layer and role. Context and Probe alike.

    Watches the model's parameters and buffers, the optimizer's state and the batch by itself.
    """

    def __init__(self, prepared: Prepared, batch: Mapping[str, Tensor]) -> None:
        super().__init__()
        # Of a model that peft wraps the wrapped one: modules then have the names they have in every method.
        self._model = getattr(prepared.model, "get_base_model", lambda: prepared.model)()
        self._optimizer, self._batch = prepared.optimizer, batch
        self._at_work = AtWork(self._model)
        self._saved = SavedForBackward(self._at_work.owner, self._notice_saved)
        self._saved_by_owner: dict[str, int] = {}

    def __enter__(self) -> Attribution:
        super().__enter__()
        self._at_work.__enter__()
        self._saved.__enter__()
        self._look_round()
        return self

    def __exit__(self, *error: Any) -> None:
        self._saved.__exit__(*error)
        self._at_work.__exit__(*error)
        super().__exit__(*error)

    def mark(self, phase: str) -> None:
        """See ``train.Probe``; and see who holds what now."""
        self._look_round()
        if phase == "forward":
            # What has a category above is alive anyway, saved or not.
            anyway = {key for key, held in self._live.items() if held.category != "saved_for_backward"}
            self._saved_by_owner = self._saved.by_owner_bytes(but=anyway)
        super().mark(phase)
        if phase == "start":
            self._at_work.begin_step()
        self._at_work.rest = _AUTOGRAD if phase == "forward" else _OPTIMIZER if phase == "backward" else ""

    def told(self) -> dict[str, Any]:
        """JSON types: what each phase's highest point consists of, the peak's by layer and role, and what is saved."""
        phases = self._phases()
        highest = max(phases, key=lambda phase: phases[phase].nbytes)
        peak = phases[highest]
        return {
            "attribution_instrument": self.instrument,
            "at_peak": {
                "phase": highest,
                "step": peak.step,
                "bytes": sum(held.nbytes for held in peak.alive),
                "by_category_bytes": by_category(peak.alive),
                "by_layer": _grouped(peak.alive, "layer", layer_of),
                "by_role": _grouped(peak.alive, "role", role_of),
            },
            "by_phase_category_bytes": {phase: by_category(high.alive) for phase, high in phases.items()},
            "saved_for_backward_bytes": sum(self._saved_by_owner.values()),
            "saved_by_role": _by_size("role", _summed(self._saved_by_owner.items(), role_of)),
        }

    def _born(self, nbytes: int) -> Held:
        return Held(nbytes=nbytes, owner=self._at_work.owner())

    def _highest(self) -> _High:
        return _High(nbytes=self.live_bytes, step=self._step, alive=list(self._live.values()))

    def _notice_saved(self, storage: torch.UntypedStorage, owner: str) -> None:
        self._claim(self._count(storage), "saved_for_backward", owner)

    def _look_round(self) -> None:
        """Give every storage that somebody holds its category; a second owner of one makes it a shared one."""
        owners: dict[int, dict[str, None]] = defaultdict(dict)
        for category, owner, tensor in self._holders():
            for storage in storages_of(tensor):
                names = owners[storage._cdata]
                names[owner] = None
                self._claim(self._count(storage), category, shared_name(names))

    def _holders(self) -> Iterator[tuple[str, str, Tensor]]:
        """(category, owner, tensor) of all that somebody holds by name."""
        for name, module in self._model.named_modules(remove_duplicate=False):
            own = "bases" if isinstance(module, Rotation | Slices) else "weights"
            yield from (("weights", name, p) for p in module.parameters(recurse=False))
            yield from ((own, name, buffer) for buffer in module.buffers(recurse=False))
        owner_of: dict[Tensor, str] = {}
        for name, parameter in self._model.named_parameters():
            owner_of[parameter] = name.rpartition(".")[0]
            for gradient in (parameter.grad, dropped_by(parameter)):
                if gradient is not None:
                    yield "gradients", owner_of[parameter], gradient
        states = {} if self._optimizer is None else self._optimizer.state
        for owned, state in states.items():
            for value in tree_leaves(state):
                if isinstance(value, Tensor):
                    yield "optimizer_state", owner_of.get(owned, _OPTIMIZER), value
        yield from (("batch", "(batch)", tensor) for tensor in self._batch.values())

    @staticmethod
    def _claim(held: Held, category: str, owner: str) -> None:
        if _RANK[category] <= _RANK[held.category]:
            held.category, held.owner = category, owner


def leak_bytes_per_step(live_after_step_bytes: list[int]) -> float | None:
    """How much more is alive after each step than after the one before, from the second step to the last.

    The first makes the optimizer's state. None where fewer than three steps were taken: nothing to compare.
    """
    if len(live_after_step_bytes) < 3:
        return None
    _, second, *_, last = live_after_step_bytes
    return (last - second) / (len(live_after_step_bytes) - 2)


def by_category(alive: Iterable[Held]) -> dict[str, int]:
    """Category -> bytes, every category named."""
    told = dict.fromkeys(CATEGORIES, 0)
    for held in alive:
        told[held.category] += held.nbytes
    return told


def _grouped(alive: Iterable[Held], word: str, group: Callable[[str], str]) -> list[dict[str, Any]]:
    """Largest first: each group's bytes, over all and by category, those that are 0 left out."""
    groups: dict[str, list[Held]] = defaultdict(list)
    for held in alive:
        groups[group(held.owner) or "(model)"].append(held)
    rows = _by_size(word, {name: sum(held.nbytes for held in members) for name, members in groups.items()})
    for row in rows:
        row["by_category_bytes"] = {name: nbytes for name, nbytes in by_category(groups[row[word]]).items() if nbytes}
    return rows


def _summed(pairs: Iterable[tuple[str, int]], group: Callable[[str], str]) -> dict[str, int]:
    told: dict[str, int] = defaultdict(int)
    for name, nbytes in pairs:
        told[group(name) or "(model)"] += nbytes
    return told


def _by_size(word: str, bytes_of: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{word: name, "bytes": nbytes} for name, nbytes in sorted(bytes_of.items(), key=lambda item: -item[1])]
