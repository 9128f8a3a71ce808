"""The stripes of dL/dY: which tokens send no gradient back through a linear, and whether they are the padding.

Legend: T tokens of the batch (examples * length), O outputs of the linear.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bench.gradients.supports import overlap
from sparsegrad import Rotation
from sparsegrad.roles import Target

__all__ = ["Stripes", "Watch", "mask_of", "stripes"]


@dataclass(frozen=True, kw_only=True)
class Stripes:
    """Of one linear's dL/dY in one backward. Zero means exactly zero; None: there is no such row to share."""

    zero_row_share: float
    """Tokens whose whole row is zero."""
    nonzero_share: float
    """Entries that are not zero."""
    zero_column_share: float
    """Outputs whose whole column is zero."""
    rotated_nonzero_share: float
    """Entries of dL/dY V^T that are not zero."""
    rotated_zero_column_share: float
    """Columns of it that are wholly zero: V mixes the columns, and leaves the rows."""
    padding_share: float | None
    """Of all tokens; None where the batch has no mask, or the model's rows are not its tokens."""
    zero_rows_that_are_padding_share: float | None
    """Of the zero rows."""
    padding_that_is_zero_share: float | None
    """Of the padding tokens."""


def stripes(g_TO: Tensor, rotation: Rotation, mask_T: Tensor | None) -> Stripes:
    """Read dL/dY, (T, O); ``mask_T``: nonzero at tokens that are no padding."""
    zero_T = ~(g_TO != 0).any(dim=1)
    rotated_TO = g_TO if rotation.v is None else g_TO @ rotation.v.T
    padding = None if mask_T is None or len(mask_T) != len(zero_T) else (mask_T == 0).nonzero().squeeze(1)
    zeros = zero_T.nonzero().squeeze(1)
    return Stripes(
        zero_row_share=float(zero_T.double().mean()),
        nonzero_share=_nonzero(g_TO),
        zero_column_share=_zero_columns(g_TO),
        rotated_nonzero_share=_nonzero(rotated_TO),
        rotated_zero_column_share=_zero_columns(rotated_TO),
        padding_share=None if padding is None else len(padding) / len(zero_T),
        zero_rows_that_are_padding_share=None if padding is None or not len(zeros) else overlap(zeros, padding),
        padding_that_is_zero_share=None if padding is None or not len(padding) else overlap(padding, zeros),
    )


def _nonzero(g_TO: Tensor) -> float:
    return float((g_TO != 0).double().mean())


def _zero_columns(g_TO: Tensor) -> float:
    return float((~(g_TO != 0).any(dim=0)).double().mean())


class Watch:
    """A context in which each backward hands every target's dL/dY, (T, O), to ``take`` as it appears."""

    def __init__(self, targets: Sequence[Target], take: Callable[[Target, Tensor], None]) -> None:
        self.targets, self.take = targets, take
        self._handles: list[Any] = []

    def __enter__(self) -> Watch:
        for target in self.targets:
            self._handles.append(target.module.register_forward_hook(self._hook(target)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, target: Target) -> Callable[..., None]:
        def seen(_module: Any, _inputs: Any, output: Tensor) -> None:
            output.register_hook(lambda g: self.take(target, g.detach().reshape(-1, g.shape[-1])))

        return seen


def mask_of(batch: Mapping[str, Tensor]) -> Tensor | None:
    """One entry a token, nonzero where it is no padding; None where the batch does not say."""
    mask = batch.get("attention_mask")
    return None if mask is None else mask.reshape(-1)
