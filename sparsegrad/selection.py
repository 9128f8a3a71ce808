"""Turn a parameter's dense gradient into COO of its k largest entries, once a backward is done with it.

Two hooks on the parameter do it, so that autograd stays autograd: whatever reaches the parameter in one backward
(a layer used twice, recomputed under checkpointing) is summed before anything is dropped.
"""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor, nn

from .average import average_
from .errors import SparseGradError
from .rotation import Rotation
from .support import top_k


class Selection:
    """Dynamic support on one parameter: ``parameter.grad`` is coalesced COO with exactly k entries after each backward.

    With ``accumulate`` the entries dropped so far stay in one dense buffer of the parameter's size (out * in * 4 bytes
    in fp32), held by the COO gradient and gone with it at ``zero_grad``; a further backward before the step adds to
    it and selects anew, so that the k entries are those of the summed gradient, as for one large batch. Without, the
    buffer is never kept and a second backward before the step is an error.

    ``rotation``: the coordinates the gradient is in, where they are not the parameter's own; a step has to be written
    back through it. Otherwise, where k is every entry, the gradient stays ``dense`` and nothing is hooked.

    ``averages``: take the mean over all processes before anything is dropped (``distributed.data_parallel``).
    """

    def __init__(
        self,
        parameter: nn.Parameter,
        kept: int,
        *,
        accumulate: bool,
        name: str,
        rotation: Rotation | None = None,
        averages: bool = False,
    ) -> None:
        self.kept = kept
        self.averages = averages
        self.accumulate = accumulate
        self.name = name
        self._dropped: Tensor | None = None
        # Hooks live in C++, where the garbage collector does not see a cycle: they know the parameter weakly.
        self._parameter = weakref.ref(parameter)
        self.rotation = rotation
        self.dense = kept == parameter.numel() and rotation is None
        if not self.dense:
            parameter.register_hook(self._recall)
            parameter.register_post_accumulate_grad_hook(self._select)
        parameter.sparsegrad_selection = self  # type: ignore[attr-defined]

    def watches(self, parameter: Tensor) -> bool:
        """Whether the hooks are on this very parameter (a deepcopy or ``assign=True`` brings another)."""
        return self._parameter() is parameter

    def _recall(self, _gradient: Tensor) -> None:
        """Before accumulation: fetch what earlier backwards of this step dropped."""
        parameter = self._parameter()
        held = None if parameter is None else parameter.grad
        self._dropped = None
        if parameter is None or held is None or not held.is_sparse or held._nnz() == 0:
            return
        self._dropped = dropped_by(parameter)
        if self._dropped is None:
            why = "its COO gradient was replaced" if self.accumulate else "accumulate=False"
            raise SparseGradError(
                f"{self.name}: a second backward before the step, and what the first left out is gone ({why}); "
                "convert(..., accumulate=True) keeps it with the gradient"
            )

    def _select(self, parameter: Tensor) -> None:
        """After accumulation: the gradient is dense (new + COO is dense); keep k entries of the sum."""
        total, dropped = parameter.grad, self._dropped
        self._dropped = parameter.grad = None
        assert total is not None
        if dropped is not None:
            total = total + dropped
        if self.averages:
            average_(total)
        chosen: Any = top_k(total, self.kept)
        if self.accumulate:
            total[tuple(chosen.indices())] = 0
            chosen.dropped = total
        parameter.grad = chosen

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """A pickled parameter comes back without its selection; the layer puts a new one on it."""
        return type(None), ()

    # torch warns of hooks it cannot serialise unless they say that losing them is meant.
    _recall.__torch_unserializable__ = True  # type: ignore[attr-defined]
    _select.__torch_unserializable__ = True  # type: ignore[attr-defined]


def selection_of(parameter: Tensor) -> Selection | None:
    """The selection on a parameter; None where it is not a SparseGrad layer's weight."""
    found = getattr(parameter, "sparsegrad_selection", None)
    return found if isinstance(found, Selection) and found.watches(parameter) else None


def dropped_by(parameter: Tensor) -> Tensor | None:
    """What the selection holds back of a COO gradient until ``zero_grad``: dense, the parameter's size; else None."""
    return getattr(parameter.grad, "dropped", None)
