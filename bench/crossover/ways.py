"""One layer and its gradient, made up, and every way to train it, ready for the interleaved rounds.

Legend: T tokens, I in, O out. x = Z S U and g = Z' S' V with random Z, orthogonal U, V and spectra S, S' that fall as
i^-decay, so that the rotated gradient dW~ = S' Z'^T Z S crowds into its leading rows and columns as real ones do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from bench.crossover.grid import SEQUENCE, Cell
from bench.crossover.torch_sparse import Layout, TorchSparseLinear
from bench.request import DTYPES
from sparsegrad import SparseGradOptimizer
from sparsegrad.compact import CompactLinear
from sparsegrad.core import Slices, default_core, strongest
from sparsegrad.executions import ExecutionName
from sparsegrad.linear import SparseGradLinear
from sparsegrad.methods import Prepared
from sparsegrad.rotation import Rotation

__all__ = ["ALL_ENTRIES", "ALL_ROWS", "DENSE", "WAYS", "Problem", "energy_share", "problem", "ways"]

DENSE, ALL_ROWS, ALL_ENTRIES = "dense", "sd, all rows", "sd, all entries"
# What wins and loses; the two variants of sd are there to tell its benefit apart.
WAYS = (DENSE, "regular", "sd", "planned", "compact", "torch-csr", "torch-coo")
_LR = 1e-4


class Problem:
    """The layer, the bases, and the batch: ``x`` (T, I), ``g`` (T, O) with zero rows, ``whole`` (T, O) without."""

    def __init__(self, cell: Cell) -> None:
        draw = torch.Generator().manual_seed(cell.seed)
        dtype, device = DTYPES[cell.dtype], torch.device(cell.device)
        self.cell = cell
        self.u_II, self.v_OO = (_orthogonal(size, draw).to(device) for size in (cell.inner, cell.out))
        self.in_I, self.out_O = (_spectrum(size, cell.decay).to(device) for size in (cell.inner, cell.out))
        z_TI, z_TO = (torch.randn(cell.tokens, n, generator=draw).to(device) for n in (cell.inner, cell.out))
        self.x = ((z_TI * self.in_I) @ self.u_II).to(dtype)
        self.whole = ((z_TO * self.out_O) @ self.v_OO).to(dtype)
        active_T = torch.arange(cell.tokens, device=device) % SEQUENCE < cell.active_rows
        self.g = self.whole * active_T[:, None]
        self.linear = nn.Linear(cell.inner, cell.out, device=device, dtype=dtype)
        with torch.no_grad():
            for p in self.linear.parameters():
                p.copy_(torch.randn(p.shape, generator=draw) / cell.inner**0.5)

    def batch(self) -> dict[str, Tensor]:
        """What ``OneLayer`` is called with; the mask tells which rows are tokens."""
        return {"x": self.x, "g": self.g, "whole": self.whole, "attention_mask": (self.g != 0).any(dim=1)}


def _orthogonal(size: int, draw: torch.Generator) -> Tensor:
    return torch.linalg.qr(torch.randn(size, size, generator=draw)).Q


def _spectrum(size: int, decay: float) -> Tensor:
    return torch.arange(1, size + 1, dtype=torch.float32) ** -decay


def problem(cell: Cell) -> Problem:
    """Equal cells give equal numbers."""
    return Problem(cell)


def energy_share(made: Problem) -> float:
    """Share of the rotated gradient's squared norm in its ``kept`` largest entries."""
    dw_OI = made.v_OO @ (made.g.float().T @ made.x.float()) @ made.u_II.T
    squares = dw_OI.double().square().flatten()
    return float(squares.topk(made.cell.kept).values.sum() / squares.sum())


class _Upstream(Function):
    """A loss whose gradient is g, at the cost of neither: its value is the first row's sum."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, g: Tensor) -> Tensor:
        ctx.save_for_backward(g)
        return y[0].sum()

    @staticmethod
    def backward(ctx: Any, _one: Tensor) -> tuple[Tensor, None]:
        (g,) = ctx.saved_tensors
        return g, None


class _Loss:
    def __init__(self, loss: Tensor) -> None:
        self.loss = loss


class OneLayer(nn.Module):
    """A model of one layer, called as ``train_step`` calls one. The gradient of x is computed, as inside a network."""

    def __init__(self, layer: nn.Module, *, all_rows: bool = False) -> None:
        super().__init__()
        self.layer, self.all_rows = layer, all_rows

    def forward(self, x: Tensor, g: Tensor, whole: Tensor, attention_mask: Tensor) -> _Loss:
        """``.loss`` has the upstream gradient g, or the whole one without zero rows."""
        y = self.layer(x.detach().requires_grad_())
        return _Loss(_Upstream.apply(y, whole if self.all_rows else g))


def ways(made: Problem) -> Iterator[tuple[str, Callable[[], Prepared]]]:
    """(name, what makes it) of every way, one by one: a way that cannot be made is one that fails, not all."""
    yield DENSE, lambda: _prepared(_copy(made.linear))
    executions: tuple[ExecutionName, ...] = ("regular", "sd", "planned")
    for execution in executions:
        yield execution, lambda execution=execution: _prepared(_sparse(made, execution))  # type: ignore[misc]
    yield "compact", lambda: _prepared(_compact(made))
    layouts: tuple[Layout, ...] = ("csr", "coo")
    for layout in layouts:
        yield f"torch-{layout}", lambda layout=layout: _prepared(_torch_sparse(made, layout))  # type: ignore[misc]
    yield ALL_ROWS, lambda: _prepared(_sparse(made, "sd"), all_rows=True)
    yield ALL_ENTRIES, lambda: _prepared(_sparse(made, "sd", kept=1.0))


def _copy(linear: nn.Linear) -> nn.Linear:
    copy = nn.Linear(linear.in_features, linear.out_features, device=linear.weight.device, dtype=linear.weight.dtype)
    copy.load_state_dict(linear.state_dict())
    return copy


def _rotation(made: Problem) -> Rotation:
    dtype = made.x.dtype
    return Rotation(made.u_II.to(dtype), made.v_OO.to(dtype))


def _sparse(made: Problem, execution: ExecutionName, *, kept: float | None = None) -> SparseGradLinear:
    entries = made.cell.kept if kept is None else kept
    return SparseGradLinear.from_linear(
        made.linear, _rotation(made), kept=entries, execution=execution, accumulate=False
    )


def _torch_sparse(made: Problem, layout: Layout) -> SparseGradLinear:
    layer = TorchSparseLinear.from_linear(made.linear, _rotation(made), kept=made.cell.kept, accumulate=False)
    assert isinstance(layer, TorchSparseLinear)
    layer.layout = layout
    return layer


def _compact(made: Problem) -> CompactLinear:
    """The core's places of the most expected energy, as calibration would find them."""
    cell, dtype = made.cell, made.x.dtype
    rows, cols = default_core(cell.kept, cell.out, cell.inner)
    slices = Slices(made.u_II[:cols].to(dtype), made.v_OO[:rows].to(dtype))
    energy_RC = torch.outer(made.out_O[:rows] ** 2, made.in_I[:cols] ** 2)
    return CompactLinear.from_linear(_copy(made.linear), slices, strongest(energy_RC, cell.kept))


def _prepared(layer: nn.Module, *, all_rows: bool = False) -> Prepared:
    model = OneLayer(layer, all_rows=all_rows).train()
    training = [p for p in model.parameters() if p.requires_grad]
    return Prepared(
        model=model,
        optimizer=SparseGradOptimizer(training, lr=_LR),
        trainable_parameters=sum(p.numel() for p in training),
        updated_parameters=0,
        adapter_bytes=0,
    )
