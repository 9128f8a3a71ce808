"""How much of the real gradients the kept entries hold, and where they lie.

The method's own gradient is read, as its optimizer would be given it: COO of a dynamic support, the values of a fixed
one. A rotation keeps the norm, so the whole is that of the dense gradient of an unconverted model at the same weights
and batch: share = |kept|^2 / |dL/dW|^2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from bench.request import Request
from bench.train import LossNotFinite, to_device
from sparsegrad import Bases
from sparsegrad.compact import CompactLinear
from sparsegrad.linear import SparseGradLinear
from sparsegrad.methods import METHODS
from sparsegrad.roles import find_targets, shape_of

__all__ = ["KeptEntries", "kept_entries", "measure_energy"]

# Training batches read, those of the first steps: not the batches that the bases are made from.
_BATCHES = 4


@dataclass(frozen=True, kw_only=True)
class KeptEntries:
    """What one layer's gradient keeps: ``values`` (k,) and their ``rows`` and ``cols`` (k,) in rotated coordinates."""

    values: Tensor
    rows: Tensor
    cols: Tensor


def kept_entries(model: nn.Module) -> Iterator[tuple[str, KeptEntries]]:
    """(layer's name, entries) after a backward of a converted model."""
    for name, layer in model.named_modules():
        if isinstance(layer, SparseGradLinear):
            gradient = layer.weight.grad
            assert gradient is not None
            sparse = gradient.coalesce() if gradient.is_sparse else gradient.to_sparse_coo()
            rows, cols = sparse.indices()
            yield name, KeptEntries(values=sparse.values(), rows=rows, cols=cols)
        elif isinstance(layer, CompactLinear):
            assert layer.values.grad is not None
            places, width = layer.places.long(), layer.core_shape[1]
            yield name, KeptEntries(values=layer.values.grad, rows=places // width, cols=places % width)


def measure_energy(request: Request, method: str, bases: Path | None) -> dict[str, Any]:
    """Share of the squared gradient norm that the method keeps in each layer, and the rows and columns it touches;
    means over a few training batches at the starting weights, dropout off. Runs in a fresh process."""
    workload = request.workload()
    loaded = None if bases is None else Bases.load(bases)
    sparse = request.prepare(METHODS[method], request.fresh_model(workload), workload, loaded).model.eval()
    dense = request.prepare(METHODS["full"], request.fresh_model(workload), workload, None).model.eval()
    targets = {target.name: target for target in find_targets(dense, targets=workload.targets, every=workload.every)}
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in targets}
    batches = workload.batches[:_BATCHES]
    for batch in batches:
        placed = to_device(batch, request.place())
        for model in (sparse, dense):
            model.zero_grad(set_to_none=True)
            model(**placed).loss.backward()
        for name, kept in kept_entries(sparse):
            whole = _energy(targets[name].weight.grad)
            if not whole > 0:
                raise LossNotFinite(f"the gradient of {name} has squared norm {whole}: no share of it can be told")
            seen[name].append(_told(kept, whole))
    layers = []
    for name, told in seen.items():
        out, inner = shape_of(targets[name].module)
        means = {figure: fmean(each[figure] for each in told) for figure in told[0]}
        layers.append({"layer": name, "rows": out, "columns": inner, **means})
    return {"batches": len(batches), "layers": layers, **_over(layers)}


def _energy(gradient: Tensor | None) -> float:
    assert gradient is not None
    return float(torch.linalg.vector_norm(gradient, dtype=torch.float64)) ** 2


def _told(kept: KeptEntries, whole: float) -> dict[str, float]:
    return {
        "kept_entries": len(kept.values),
        "energy_share": _energy(kept.values) / whole,
        "rows_touched": len(kept.rows.unique()),
        "columns_touched": len(kept.cols.unique()),
    }


def _over(layers: list[dict[str, Any]]) -> dict[str, Any]:
    """Over the layers: mean, least and most of the share; mean shares of rows and columns touched."""
    shares = [layer["energy_share"] for layer in layers]
    return {
        "energy_share": {"mean": fmean(shares), "least": min(shares), "most": max(shares)},
        "rows_touched_share": fmean(layer["rows_touched"] / layer["rows"] for layer in layers),
        "columns_touched_share": fmean(layer["columns_touched"] / layer["columns"] for layer in layers),
        "kept_share": fmean(layer["kept_entries"] / (layer["rows"] * layer["columns"]) for layer in layers),
    }
