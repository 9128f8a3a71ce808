"""What one SparseGrad adapter is: which linears, how many entries, and where its bases come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from peft import PeftConfig

from ..core import Core
from ..errors import SparseGradError
from .kind import SPARSEGRAD


@dataclass
class SparseGradConfig(PeftConfig):
    """Configuration of a ``SparseGradModel``, for ``get_peft_model`` and ``PeftModel.from_pretrained``.

    Args:
        kept: trainable entries of each layer: a count (int) or a share of its weight's entries (float).
        core: (rows, columns) of the rotated space that hold them; default: the smallest square that does, its side a
            multiple of 32, each side clipped to the layer.
        bases: file written by ``Bases.save`` after ``calibrate(..., kept=...)`` on this model: the calibrated method.
            Without it nothing is calibrated: slices are seeded random orthonormal rows and entries a seeded random
            choice, which need no data and are no substitute for it. Read when an adapter is made and not written to
            ``adapter_config.json``: a saved adapter holds its indices and slices, and needs no such file.
        seed: of the draw without ``bases``; each layer draws by it and by its own name.
        target_modules: names or name endings, a regular expression for whole names, or "all-linear". Default: the
            linears ``bases`` were made for, or without them the MLP linears, found by structure.
        exclude_modules: names or a regular expression to leave out.
        layers_to_transform: index, or list of indices, of the blocks to adapt; with names, not a regular expression.
        layers_pattern: name of the list of blocks where it is not the first numbered one.
        fan_in_fan_out: whether weights are (in, out). Known from the layer's type; a value that contradicts it warns.
        modules_to_save: further modules that train in full and are saved with the adapter, such as a new head.
        init_weights: True: entries start at zero, and the model's function as it was. False draws them, an update of
            root mean square 0.02 whatever ``kept`` is, which is for tests.
    """

    kept: int | float = 0.01
    core: Core | None = None
    bases: str | None = None
    seed: int = 0
    target_modules: set[str] | list[str] | str | None = None
    exclude_modules: set[str] | list[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    fan_in_fan_out: bool | None = None
    modules_to_save: list[str] | None = None
    init_weights: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[no-untyped-call]
        self.peft_type = SPARSEGRAD
        for name in ("target_modules", "exclude_modules"):
            if isinstance(given := getattr(self, name), list):
                setattr(self, name, set(given))
        if self.core is not None:
            self.core = _pair(self.core)
        if isinstance(self.target_modules, str):
            for name in ("layers_to_transform", "layers_pattern"):
                if getattr(self, name) is not None:
                    raise SparseGradError(f"`{name}` cannot be used when `target_modules` is a str.")
        if self.layers_pattern and self.layers_to_transform is None:
            raise SparseGradError("When `layers_pattern` is specified, `layers_to_transform` must also be specified.")

    def to_dict(self) -> dict[str, Any]:
        """All that ``adapter_config.json`` holds: every field but ``bases``."""
        told: dict[str, Any] = super().to_dict()
        del told["bases"]
        return told


def _pair(core: Any) -> Core:
    """A tuple of two counts; JSON has read it as a list."""
    given = tuple(core) if isinstance(core, list | tuple) else ()
    if len(given) != 2 or not all(isinstance(side, int) for side in given):
        raise SparseGradError(f"core={core!r}: give two counts (rows, columns), such as (160, 160)")
    return given
