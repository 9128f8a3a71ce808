"""One optimizer for both kinds of gradient: SparseAdam on COO, AdamW on the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer, SparseAdam

from .errors import NonFiniteGradient, SparseGradError
from .selection import selection_of


class SparseGradOptimizer(Optimizer):
    """AdamW for parameters whose gradient is dense, SparseAdam for those whose gradient is COO.

    Both are torch's own; each step hands every gradient to the one it belongs to, by its layout. One ``param_groups``
    list and one ``state``, so schedulers, ``state_dict`` and GradScaler see an ordinary optimizer. State of a COO
    parameter: two dense tensors of its size (SparseAdam's; only touched entries are read or written).

    Weight decay applies to dense parameters: decaying untouched entries of a rotated weight is a dense update. Asked
    for on a group that holds nothing but COO parameters it is an error.

    Args:
        params: parameters or groups, as any torch optimizer takes them.
        lr: learning rate. betas, eps: Adam's. weight_decay: decoupled (AdamW).
    Raises:
        SparseGradError: weight decay on a COO group.
        NonFiniteGradient: at ``step``, a COO gradient holds NaN or infinity; names the layer.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        for name, value, fits in (
            ("lr", lr, lr >= 0),
            ("eps", eps, eps > 0),
            ("betas", betas, all(0 <= beta < 1 for beta in betas)),
            ("weight_decay", weight_decay, weight_decay >= 0),
        ):
            if not fits:
                raise SparseGradError(f"{name}={value} is out of range for Adam")
        # All of AdamW's options, so that its step finds in a group what it reads.
        adamw = AdamW([torch.zeros(1, requires_grad=True)]).defaults
        super().__init__(params, {**adamw, "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's; refuses weight decay on a group of COO parameters alone."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        selections = [selection_of(p) for p in group["params"]]
        if group["weight_decay"] and selections and all(selections):
            self.param_groups.pop()
            raise SparseGradError(
                f"weight_decay={group['weight_decay']} on a group whose gradients are all COO ({selections[0].name}, "  # type: ignore[union-attr]
                "...): it would be a dense update; give these parameters a group with weight_decay=0"
            )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient; returns the closure's loss, if there is a closure."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        coo = [p for group in self.param_groups for p in group["params"] if p.grad is not None and p.grad.is_sparse]
        _check_finite(coo)
        sparse = set(coo)
        self._lend(SparseAdam, lambda p: p in sparse)
        self._lend(AdamW, lambda p: p not in sparse)
        return loss

    def _lend(self, kind: type[AdamW] | type[SparseAdam], takes: Callable[[Tensor], bool]) -> None:
        """Step ``kind`` on the parameters it takes, with this optimizer's groups and state."""
        inner = kind([torch.zeros(1, requires_grad=True)])
        inner.state = self.state
        inner.param_groups = [
            {**group, "params": [p for p in group["params"] if p.grad is not None and takes(p)]}
            for group in self.param_groups
        ]
        inner.step()


def _check_finite(parameters: list[Tensor]) -> None:
    """Name the layers whose COO gradient is not finite; one wait for the device in all."""
    if not parameters:
        return
    finite = torch.stack([torch.isfinite(p.grad._values()).all().cpu() for p in parameters])  # type: ignore[union-attr]
    if not finite.all():
        chosen = [selection_of(p) for p, good in zip(parameters, finite.tolist(), strict=True) if not good]
        names = ", ".join(selection.name if selection else "a parameter" for selection in chosen)
        raise NonFiniteGradient(
            f"NaN or infinity in the gradient of {names}: lower the learning rate, or scale the loss"
        )
