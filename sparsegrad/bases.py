"""Bases: what calibration finds, what convert needs, and its file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .core import Core, Slices
from .errors import BasesMismatch, SparseGradError
from .roles import Target, find_targets, shape_of
from .rotation import Rotation, fingerprint_of, weight_sample

Kind = Literal["shared", "per-block", "none"]
FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class Basis:
    """One pair of bases and the spectrum each was cut from.

    ``u`` (in, in) and ``v`` (out, out): orthogonal, basis vectors in rows by falling singular value; None: identity.
    Where a core was asked for, only its leading rows: (c, in) and (r, out).
    ``singular_in`` (in,), ``singular_out`` (out,): singular values of the two unfoldings of the stacked gradients.
    """

    u: Tensor | None
    v: Tensor | None
    singular_in: Tensor | None
    singular_out: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Bases:
    """Immutable result of ``sparsegrad.calibrate``.

    Attributes:
        kind: "shared" (one pair per role, the paper), "per-block" (one per linear) or "none" (the original space).
        table: role (shared) or linear name (per-block) -> ``Basis``; empty for "none".
        layers: linear name -> (role, (out, in)), the linears the bases were made for.
        fingerprint: digest of those linears' weights before training.
        header: what made them: model, data, steps, sides and so on (JSON types).
        energies: linear name -> (r, c) float64, sum over the steps of the squared entries of the rotated gradient's
            leading part, where a core was asked for: what a fixed support is chosen from.
    """

    kind: Kind
    table: Mapping[str, Basis]
    layers: Mapping[str, tuple[str, tuple[int, int]]]
    fingerprint: str
    header: Mapping[str, Any] = field(default_factory=dict)
    energies: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def none(
        cls,
        model: nn.Module,
        *,
        targets: str | None = None,
        every: int = 1,
        header: Mapping[str, Any] | None = None,
    ) -> Bases:
        """The original space: nothing to calibrate (MeProp's basis)."""
        found = find_targets(model, targets=targets, every=every)
        told = {"model": type(model).__name__} if header is None else header
        return cls(kind="none", table={}, layers=layers_of(found), fingerprint=fingerprint(found), header=told)

    def rotations(self, wanted: Sequence[Target]) -> dict[str, Rotation]:
        """A ``Rotation`` for each wanted linear's name, one object where linears share a basis.

        Raises:
            BasesMismatch: there is none for a linear, or its shape is another.
        """
        made: dict[str, Rotation] = {}
        return {target.name: self._rotation(target, made) for target in wanted}

    def _basis(self, target: Target) -> tuple[str, Basis]:
        """The key and basis of a linear, of its shape."""
        key = {"none": "", "shared": target.role, "per-block": target.name}[self.kind]
        out, inner = shape_of(target.module)
        if self.kind != "none" and key not in self.table:
            raise BasesMismatch(
                f"no basis for {target.name}: these are for {', '.join(self.table)}; calibrate this model"
            )
        basis = self.table.get(key, Basis(u=None, v=None, singular_in=None, singular_out=None))
        for side, matrix, size in (("in", basis.u, inner), ("out", basis.v, out)):
            if matrix is not None and matrix.shape[1] != size:
                raise BasesMismatch(
                    f"the {side} basis of {key} has {matrix.shape[1]} entries a vector and {target.name} has {size} "
                    f"{side}puts: these bases are of another shape; calibrate this model"
                )
        return key, basis

    def _rotation(self, target: Target, made: dict[str, Rotation]) -> Rotation:
        key, basis = self._basis(target)
        for matrix in (basis.u, basis.v):
            if matrix is not None and len(matrix) != matrix.shape[1]:
                raise BasesMismatch(
                    f"the basis of {key} holds its leading {len(matrix)} of {matrix.shape[1]} vectors, for "
                    "support='fixed'; dynamic support needs all: calibrate without core= and kept="
                )
        device, dtype = target.weight.device, target.weight.dtype
        place = f"{key}@{device}/{dtype}"
        if place not in made:
            made[place] = Rotation(
                placed(basis.u, device, dtype),
                placed(basis.v, device, dtype),
                fingerprint=fingerprint_of(basis.u, basis.v),
            )
        return made[place]

    def slices(self, wanted: Mapping[str, tuple[Target, Core]]) -> dict[str, Slices]:
        """The ``Slices`` of each linear's core by its name, one object where linears share a basis and a core.

        Raises:
            BasesMismatch: bases without energies, of one side only, of another shape, or with a smaller core.
        """
        made: dict[tuple[Any, ...], Slices] = {}
        return {name: self._slices(target, core, made) for name, (target, core) in wanted.items()}

    def _slices(self, target: Target, core: Core, made: dict[tuple[Any, ...], Slices]) -> Slices:
        key, basis = self._basis(target)
        if basis.u is None or basis.v is None or target.name not in self.energies:
            raise BasesMismatch(
                "support='fixed' needs two-sided bases with the energies of a core: calibrate(..., "
                "basis='per-block', kept=K), with the kept of convert"
            )
        known = tuple(self.energies[target.name].shape)
        if core[0] > known[0] or core[1] > known[1]:
            raise BasesMismatch(
                f"core={core} of {target.name}, and these bases hold a core of {known}: calibrate with core={core}"
            )
        (rows, cols), device, dtype = core, target.weight.device, target.weight.dtype
        if (place := (key, core, device, dtype)) not in made:
            u, v = basis.u[:cols], basis.v[:rows]
            mark = fingerprint_of(u, v)
            made[place] = Slices(_own(u, device, dtype), _own(v, device, dtype), fingerprint=mark)
        return made[place]

    def check_model(self, model_name: str, targets: Sequence[Target]) -> None:
        """Raise BasesMismatch unless ``targets`` carry the weights these bases were calibrated on."""
        missing = [name for name in self.layers if name not in {t.name for t in targets}]
        if missing:
            raise BasesMismatch(f"bases of {self._origin()} want a linear {missing[0]!r}, which {model_name} has not")
        for target in targets:
            if shape_of(target.module) != self.layers[target.name][1]:
                raise BasesMismatch(
                    f"{target.name} is {shape_of(target.module)} (out, in) here and {self.layers[target.name][1]} in "
                    f"the bases of {self._origin()}: another model; calibrate this one"
                )
        if fingerprint(targets) != self.fingerprint:
            raise BasesMismatch(
                f"these bases were calibrated on other weights ({self._origin()}) than {model_name} holds now: "
                "convert before training, or calibrate this model"
            )

    def _origin(self) -> str:
        return str(self.header.get("model", "another model"))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one safetensors file (written aside, then renamed); returns its path."""
        return write_safetensors(Path(path), *self.to_tensors())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Bases:
        """Read what ``save`` wrote.

        Raises:
            BasesMismatch: no such file, damaged, or not a bases file of this format.
        """
        return cls.from_tensors(*read_safetensors(Path(path)), source=str(path))

    def to_tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name and a JSON header: the form in which bases travel in a file."""
        tensors = {
            f"{key}/{name}": tensor
            for key, basis in self.table.items()
            for name, tensor in vars(basis).items()
            if tensor is not None
        }
        tensors |= {f"energy/{name}": energy for name, energy in self.energies.items()}
        header = {
            "format": FORMAT,
            "kind": self.kind,
            "table": {
                key: [name for name, tensor in vars(basis).items() if tensor is not None]
                for key, basis in self.table.items()
            },
            "layers": {name: [role, list(shape)] for name, (role, shape) in self.layers.items()},
            "fingerprint": self.fingerprint,
            "energies": list(self.energies),
            "header": dict(self.header),
        }
        return tensors, {"bases": header}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], header: Mapping[str, Any], *, source: str) -> Bases:
        """The inverse of ``to_tensors``; BasesMismatch where ``header`` is not one of ours."""
        try:
            told = header["bases"]
            if told["format"] != FORMAT:
                raise BasesMismatch(f"{source}: bases of format {told['format']}, this version reads {FORMAT}")
            names = ("u", "v", "singular_in", "singular_out")
            table = {
                key: Basis(**{name: tensors[f"{key}/{name}"] if name in given else None for name in names})
                for key, given in told["table"].items()
            }
            layers = {name: (role, (shape[0], shape[1])) for name, (role, shape) in told["layers"].items()}
            return cls(
                kind=told["kind"],
                table=table,
                layers=layers,
                fingerprint=told["fingerprint"],
                header=told["header"],
                energies={name: tensors[f"energy/{name}"] for name in told["energies"]},
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            if isinstance(error, SparseGradError):
                raise
            raise BasesMismatch(f"{source} is not a bases file ({error!r}); write one with Bases.save") from None


def placed(matrix: Tensor | None, device: torch.device, dtype: torch.dtype) -> Tensor | None:
    """The basis where and as the layer computes; half precision is reached through fp32, so that it is always the
    same rounding and fingerprints agree."""
    if matrix is None:
        return None
    return (matrix if dtype is torch.float64 else matrix.float()).to(device=device, dtype=dtype)


def _own(matrix: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A slice with storage of its own: a view would keep the whole basis alive."""
    made = placed(matrix, device, dtype)
    assert made is not None
    return made.clone() if made.data_ptr() == matrix.data_ptr() else made.contiguous()


def layers_of(targets: Sequence[Target]) -> dict[str, tuple[str, tuple[int, int]]]:
    """Linear name -> (role, (out, in))."""
    return {target.name: (target.role, shape_of(target.module)) for target in targets}


def fingerprint(targets: Sequence[Target]) -> str:
    """Digest (16 hex) of the linears' names, shapes and weights, read off at most 4,096 entries each in bf16.

    The same on any device, and for fp32 and bf16 copies of one model.
    """
    digest = hashlib.sha256()
    for target in targets:
        digest.update(f"{target.name}{tuple(target.weight.shape)}".encode())
        digest.update(weight_sample(target.weight))
    return digest.hexdigest()[:16]


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> Path:
    """One file, written under a temporary name beside it and renamed, so that a kill leaves the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # safetensors writes a header of strings: one entry, JSON.
        plain = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
        save_file(plain, temporary, {"sparsegrad": json.dumps({**header, "sha256": _digest(plain, header)})})
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)  # safetensors makes it readable by its owner alone
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of ``write_safetensors``; BasesMismatch where the file is missing, damaged or foreign.

    What was written is known by its digest: a bit that flipped since is damage too.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["sparsegrad"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError:
        raise BasesMismatch(f"no file {path}") from None
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise BasesMismatch(f"{path} was not written by sparsegrad, or is damaged: {error}") from None
    # Older files have no digest.
    told = header.pop("sha256", None) if isinstance(header, dict) else None
    if told not in (None, _digest(tensors, header)):
        raise BasesMismatch(f"{path} is damaged: it does not hold what was written; make it again")
    return tensors, header


def _digest(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """Of all that a file holds; safetensors itself checks sizes alone."""
    digest = hashlib.sha256(json.dumps(header).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
