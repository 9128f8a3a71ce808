"""Calibration: gradients of a few batches -> U and V, by HOSVD of the stacked gradients, streamed.

The stacked tensor T (out, in, steps * blocks) is never made. Its mode-1 unfolding's left singular vectors are the
eigenvectors of sum_n G_n G_n^T and its mode-2 unfolding's those of sum_n G_n^T G_n (De Lathauwer et al. 2000), so two
Gram matrices a role, grown as each gradient appears, hold all that HOSVD asks for. Eigenvalues are squared singular
values: a value at 1e-4 of the largest sits at 1e-8 of the Gram, below fp32's rounding, hence float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .bases import Bases, Basis, Kind, fingerprint, layers_of
from .core import Core, check_core, default_core
from .errors import NonFiniteGradient, SparseGradError
from .roles import Target, find_targets, is_transposed, shape_of
from .support import resolve_kept

Sides = Literal["both", "in", "out"]
Fold = Callable[[str, Tensor], None]


def calibrate(
    model: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    steps: int = 30,
    *,
    basis: Kind = "shared",
    sides: Sides = "both",
    targets: str | None = None,
    every: int = 1,
    normalise: bool = False,
    core: Core | None = None,
    kept: int | float | None = None,
    mode: Literal["streamed", "stacked"] = "streamed",
    model_name: str | None = None,
    data_name: str = "unnamed",
    progress: Callable[[int, int], None] | None = None,
) -> Bases:
    """The paper's preliminary phase: bases in which the MLP linears' gradients are concentrated.

    Everything but those linears is frozen, ``steps`` batches are run forward and backward at the weights as they are
    (no update, dropout off), and the weight gradients are folded into Gram matrices as they appear: float64,
    (out, out) and (in, in) a role ("shared") or a linear ("per-block"), on the weights' device. Weights, gradients,
    flags and mode are left as they were.

    Args:
        model: its MLP linears are found by structure, or by ``targets`` / ``every`` (see ``roles.find_targets``).
        batches: mappings for ``model(**batch)``, with labels, so that the output has a ``loss``.
        basis: "shared" (the paper), "per-block", or "none" (no batch is run).
        sides: rotate "both" sides, or one: "in" (U alone), "out" (V alone).
        normalise: divide each gradient by its Frobenius norm, so that no step or block outweighs another.
        core: (r, c), for ``convert(support="fixed")``: run the same batches a second time for the energy of every
            entry in the leading r x c part of each linear's rotated gradient, and keep of the bases those rows alone.
        kept: the same, with each linear's default core for so many entries (count or share; ``core.default_core``).
        mode: "streamed", or "stacked": the reference, all gradients at once and tensorly's SVD (for the comparison).
        model_name, data_name: for the header of the file.
        progress: called with (steps done, steps) after each step, those of the second pass counted too.
    Returns:
        Bases, float64 tensors on the CPU.
    Raises:
        SparseGradError: too few batches, no loss, an unknown option.
        NoTargets: no linears found.
        NonFiniteGradient: names the layer.
    """
    _check(steps=steps, basis=basis, sides=sides, mode=mode)
    if (core is not None or kept is not None) and (basis == "none" or sides != "both"):
        raise SparseGradError(f"core= and kept= are for two-sided bases; given basis={basis!r}, sides={sides!r}")
    name = model_name or str(getattr(getattr(model, "config", None), "_name_or_path", "") or type(model).__name__)
    header: dict[str, Any] = {"model": name, "data": data_name, "targets": targets, "every": every}
    if basis == "none":
        return Bases.none(model, targets=targets, every=every, header=header)
    found = find_targets(model, targets=targets, every=every)
    cores = _cores(found, core, kept)
    decompose = _Streamed(sides) if mode == "streamed" else _Stacked(sides)
    key_of = {t.name: t.role if basis == "shared" else t.name for t in found}
    batches = list(islice(batches, steps))
    passes = 2 if cores else 1

    def told(done: int, _of: int) -> None:
        if progress is not None:
            progress(done, passes * steps)

    _run(model, found, batches, steps, lambda layer, g_OI: decompose.fold(key_of[layer], g_OI), normalise, told)
    table = decompose.finish()
    energies: dict[str, Tensor] = {}
    if cores:
        table = _leading(table, {key_of[name]: core for name, core in cores.items()})
        measured = _Energies({name: table[key_of[name]] for name in cores}, found[0].weight.device)
        _run(model, found, batches, steps, measured.fold, normalise, lambda done, of: told(of + done, of))
        energies = measured.finish()
    return Bases(
        kind=basis,
        table=table,
        layers=layers_of(found),
        fingerprint=fingerprint(found),
        header={**header, "steps": steps, "sides": sides, "normalise": normalise, "mode": mode},
        energies=energies,
    )


def _check(*, steps: int, basis: str, sides: str, mode: str) -> None:
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise SparseGradError(f"steps={steps!r}: give the number of batches, 1 or more")
    for name, given, known in (
        ("basis", basis, ("shared", "per-block", "none")),
        ("sides", sides, ("both", "in", "out")),
        ("mode", mode, ("streamed", "stacked")),
    ):
        if given not in known:
            raise SparseGradError(f"{name}={given!r}: give one of {', '.join(known)}")


def _cores(found: list[Target], core: Core | None, kept: int | float | None) -> dict[str, Core]:
    """Linear name -> the core asked for; empty where none was."""
    if core is None and kept is None:
        return {}
    cores = {}
    for target in found:
        out, inner = shape_of(target.module)
        entries = None if kept is None else resolve_kept(kept, out * inner, layer=target.name)
        wanted = core or default_core(entries or 1, out, inner)
        cores[target.name] = check_core(wanted, entries, out, inner, layer=target.name)
    return cores


def _leading(table: dict[str, Basis], cores: dict[str, Core]) -> dict[str, Basis]:
    """The rows of each basis that its core needs; the rest is freed."""
    cut = {}
    for key, (rows, cols) in cores.items():
        basis = table.pop(key)
        assert basis.u is not None and basis.v is not None
        cut[key] = replace(basis, u=basis.u[:cols].clone(), v=basis.v[:rows].clone())
    return cut


class _Energies:
    """Sum over the steps of the squared entries of V_R G U_C^T, (r, c) float64 a linear."""

    def __init__(self, bases: dict[str, Basis], device: torch.device) -> None:
        self.sides = {name: (_on(basis.v, device), _on(basis.u, device)) for name, basis in bases.items()}
        self.sums: dict[str, Tensor] = {}

    def fold(self, name: str, g_OI: Tensor) -> None:
        v_RO, u_CI = self.sides[name]
        squared = (v_RO @ g_OI.double() @ u_CI.T).square_()
        self.sums[name] = squared if name not in self.sums else self.sums[name].add_(squared)

    def finish(self) -> dict[str, Tensor]:
        return {name: energy.cpu() for name, energy in self.sums.items()}


def _on(basis: Tensor | None, device: torch.device) -> Tensor:
    assert basis is not None
    return basis.to(device)


def _run(
    model: nn.Module,
    found: list[Target],
    batches: Iterable[Mapping[str, Any]],
    steps: int,
    fold: Fold,
    normalise: bool,
    progress: Callable[[int, int], None],
) -> None:
    device = found[0].weight.device
    done = 0
    with _only_gradients_of(model, found, _hook(fold, normalise)):
        for done, batch in enumerate(islice(batches, steps), start=1):
            output = model(**{k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()})
            loss = getattr(output, "loss", None)
            if loss is None:
                raise SparseGradError("the model's output has no loss: put labels into the batches")
            loss.backward()
            progress(done, steps)
    if done < steps:
        raise SparseGradError(f"the batches ended after {done} of {steps} steps: give more, or steps={done or 1}")


def _hook(fold: Fold, normalise: bool) -> Callable[[Target, nn.Parameter], None]:
    def take(target: Target, weight: nn.Parameter) -> None:
        gradient, weight.grad = weight.grad, None
        assert gradient is not None
        g_OI = (gradient.T if is_transposed(target.module) else gradient).detach()
        norm = torch.linalg.vector_norm(g_OI, dtype=torch.float64)
        if not torch.isfinite(norm):
            raise NonFiniteGradient(f"{target.name}: its calibration gradient holds NaN or infinity")
        fold(target.name, g_OI / norm.to(g_OI.dtype) if normalise and norm > 0 else g_OI)

    return take


@contextmanager
def _only_gradients_of(
    model: nn.Module, found: list[Target], take: Callable[[Target, nn.Parameter], None]
) -> Iterator[None]:
    """Freeze all but the targets' weights, hand each gradient to ``take`` as it appears; put everything back after."""
    parameters = list(model.parameters())
    before = [(p, p.requires_grad, p.grad) for p in parameters]
    training = {module: module.training for module in model.modules()}
    handles = []
    try:
        model.eval()
        for p in parameters:
            p.requires_grad_(False)
            p.grad = None
        for target in found:
            weight = target.weight
            weight.requires_grad_(True)
            handles.append(weight.register_post_accumulate_grad_hook(lambda w, t=target: take(t, w)))
        with torch.enable_grad():
            yield
    finally:
        for handle in handles:
            handle.remove()
        for p, requires_grad, grad in before:
            p.requires_grad_(requires_grad)
            p.grad = grad
        for module, mode in training.items():
            module.training = mode


class _Streamed:
    """Two Gram matrices a key: sum G G^T (out, out) and sum G^T G (in, in), float64."""

    def __init__(self, sides: Sides) -> None:
        self.sides = sides
        self.grams: dict[str, tuple[Tensor | None, Tensor | None]] = {}

    def fold(self, key: str, g_OI: Tensor) -> None:
        g = g_OI.double()
        out, inner = self.grams.get(key, (None, None))
        if self.sides != "in":
            out = g @ g.T if out is None else out.addmm_(g, g.T)
        if self.sides != "out":
            inner = g.T @ g if inner is None else inner.addmm_(g.T, g)
        self.grams[key] = (out, inner)

    def finish(self) -> dict[str, Basis]:
        """Eigenvectors of the Grams, which are freed one by one."""
        table = {}
        for key in list(self.grams):
            out, inner = self.grams.pop(key)
            v, singular_out = _eigenbasis(out)
            u, singular_in = _eigenbasis(inner)
            table[key] = Basis(u=u, v=v, singular_in=singular_in, singular_out=singular_out)
        return table


def _eigenbasis(gram: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    if gram is None:
        return None, None
    values, vectors = torch.linalg.eigh(gram)
    basis = vectors.flip(1).T.contiguous()
    return _signed(basis).cpu(), values.flip(0).clamp(min=0).sqrt().cpu()


def _signed(basis: Tensor) -> Tensor:
    """Each basis vector with its largest entry positive: an eigenvector's sign is the solver's whim."""
    at = basis.abs().argmax(dim=1, keepdim=True)
    return basis * basis.gather(1, at).sign()


class _Stacked:
    """The reference: every gradient kept (steps * blocks * out * in values a role), then tensorly's SVD."""

    def __init__(self, sides: Sides) -> None:
        self.sides = sides
        self.gradients: dict[str, list[Tensor]] = {}

    def fold(self, key: str, g_OI: Tensor) -> None:
        self.gradients.setdefault(key, []).append(g_OI.double().clone())

    def finish(self) -> dict[str, Basis]:
        """HOSVD by tensorly; its backend is torch inside and restored after."""
        import tensorly

        table = {}
        with tensorly.backend_context("pytorch", local_threadsafe=True):
            for key in list(self.gradients):
                stacked = torch.stack(self.gradients.pop(key), dim=2)
                v, singular_out = self._side(stacked, 0) if self.sides != "in" else (None, None)
                u, singular_in = self._side(stacked, 1) if self.sides != "out" else (None, None)
                table[key] = Basis(u=u, v=v, singular_in=singular_in, singular_out=singular_out)
        return table

    @staticmethod
    def _side(stacked: Tensor, mode: int) -> tuple[Tensor, Tensor]:
        from tensorly import unfold
        from tensorly.tenalg.svd import svd_interface

        unfolded = unfold(stacked, mode)
        left, singular, _ = svd_interface(unfolded)
        size, rank = left.shape
        if rank < size:  # fewer gradients than basis vectors: any orthogonal complement has singular value zero
            left = torch.cat((left, torch.linalg.qr(left, mode="complete").Q[:, rank:]), dim=1)
        padded = torch.nn.functional.pad(singular[:size], (0, size - min(size, len(singular))))
        return _signed(left.T.contiguous()).cpu(), padded.cpu()
