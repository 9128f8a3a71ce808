"""One optimizer for both kinds of gradient: SparseAdam on COO, AdamW on the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from .dataless import is_dataless
from .errors import NonFiniteGradient, SparseGradError
from .products import add_unrotated_, coalesced_coo
from .selection import selection_of


class SparseGradOptimizer(Optimizer):
    """AdamW for parameters whose gradient is dense, SparseAdam for those whose gradient is COO.

    AdamW is torch's own, SparseAdam's arithmetic is (to the bit), and its step can be written back through a layer's
    rotation; each gradient goes to the one it belongs to, by its layout. One ``param_groups``
    list and one ``state``, so schedulers, ``state_dict`` and GradScaler see an ordinary optimizer. State of a COO
    parameter: two dense tensors of its size (SparseAdam's; only touched entries are read or written).

    Weight decay applies to dense parameters: decaying untouched entries of a rotated weight is a dense update. Asked
    for on a group that holds nothing but COO parameters it is an error.

    Args:
        params: parameters or groups, as any torch optimizer takes them.
        lr: learning rate. betas, eps: Adam's. weight_decay: decoupled (AdamW).
    Raises:
        SparseGradError: weight decay on a COO group, or an option that is neither's.
        NonFiniteGradient: at ``step``, the gradient of a SparseGrad layer holds NaN or infinity; names it.
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
        if isinstance(param_group, dict):
            self._check_options(param_group)
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        selections = [selection_of(p) for p in group["params"]]
        if group["weight_decay"] and selections and all(s is not None and not s.dense for s in selections):
            self.param_groups.pop()
            raise SparseGradError(
                f"weight_decay={group['weight_decay']} on a group whose gradients are all COO ({selections[0].name}, "  # type: ignore[union-attr]
                "...): it would be a dense update; give these parameters a group with weight_decay=0"
            )

    def _check_options(self, group: dict[str, Any]) -> None:
        """An option that one of the two would not honour is an error, never ignored."""
        free = {"params", "param_names", "lr", "betas", "eps", "weight_decay", "initial_lr"}
        for name, value in group.items():
            if name not in free and (name not in self.defaults or value != self.defaults[name]):
                raise SparseGradError(
                    f"{name}={value!r} is not an option of a group; give lr, betas, eps, weight_decay"
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient; returns the closure's loss, if there is a closure."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        owners = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        sparse = {p for p in owners if p.grad.is_sparse}
        _check_finite([p for p in owners if p in sparse or selection_of(p) is not None])
        self._step_dense(lambda p: p not in sparse)
        for group in self.param_groups:
            for p in group["params"]:
                if p in sparse:
                    self._step_sparse(p, group)
        return loss

    def _step_sparse(self, parameter: Tensor, group: dict[str, Any]) -> None:
        """SparseAdam's step, written back through the rotation where the gradient's coordinates are not W's."""
        assert parameter.grad is not None
        step = sparse_adam(parameter.grad.coalesce(), self.state[parameter], group["lr"], group["betas"], group["eps"])
        selection = selection_of(parameter)
        rotation = None if selection is None else selection.rotation
        u, v = (None, None) if rotation is None else (rotation.u, rotation.v)
        add_unrotated_(parameter, step, u, v)

    def _step_dense(self, takes: Callable[[Tensor], bool]) -> None:
        """Step AdamW on the parameters it takes, with this optimizer's groups and state."""
        inner = AdamW([torch.zeros(1, requires_grad=True)])
        inner.state = self.state
        inner.param_groups = [
            {**group, "params": [p for p in group["params"] if p.grad is not None and takes(p)]}
            for group in self.param_groups
        ]
        inner.step()


def sparse_adam(
    gradient: Tensor, state: dict[str, Any], lr: float | Tensor, betas: tuple[float, float], eps: float
) -> Tensor:
    """The step of torch.optim.SparseAdam as COO, to the bit, without touching the parameter.

    Moments are read and written at the gradient's entries alone; ``state`` is SparseAdam's: ``step``, and ``exp_avg``
    and ``exp_avg_sq``, dense tensors of the gradient's shape.
    """
    if not state:
        state.update(
            step=0,
            exp_avg=torch.zeros(gradient.shape, dtype=gradient.dtype, device=gradient.device),
            exp_avg_sq=torch.zeros(gradient.shape, dtype=gradient.dtype, device=gradient.device),
        )
    state["step"] += 1
    at, values = tuple(gradient.indices()), gradient.values()
    beta1, beta2 = betas
    old1, old2 = state["exp_avg"][at], state["exp_avg_sq"][at]
    change1 = (values - old1).mul_(1 - beta1)
    change2 = values.pow(2).sub_(old2).mul_(1 - beta2)
    mean, square = old1.add_(change1), old2.add_(change2)
    state["exp_avg"][at], state["exp_avg_sq"][at] = mean, square
    scale = lr * (1 - beta2 ** state["step"]) ** 0.5 / (1 - beta1 ** state["step"])
    update = -scale * mean.div_(square.sqrt_().add_(eps))
    return coalesced_coo(gradient.indices(), update, tuple(gradient.shape))


def _check_finite(parameters: list[Tensor]) -> None:
    """Name the SparseGrad layers whose gradient is not finite; one wait for the device in all."""
    if not parameters or is_dataless(parameters[0]):
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    values = [g._values() if g.is_sparse else g for g in gradients]
    finite = torch.stack([torch.isfinite(v).all().to(values[0].device) for v in values]).cpu()
    if not finite.all():
        chosen = [selection_of(p) for p, good in zip(parameters, finite.tolist(), strict=True) if not good]
        names = ", ".join(selection.name if selection else "a parameter" for selection in chosen)
        raise NonFiniteGradient(
            f"NaN or infinity in the gradient of {names}: lower the learning rate, or scale the loss"
        )
