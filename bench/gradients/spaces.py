"""Where a gradient is looked at: as it is, rotated on one side or on both, by one pair for all blocks or one each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from sparsegrad import Bases, Rotation
from sparsegrad.roles import Target

__all__ = ["CALIBRATIONS", "ORIGINAL", "ROTATED", "SPACES", "Space", "rotations"]


@dataclass(frozen=True, kw_only=True)
class Space:
    """One of the spaces: whose bases it takes (a key of ``CALIBRATIONS``; None: none), and which of the two."""

    name: str
    summary: str
    calibration: str | None = None
    sides: str = "both"

    @property
    def normalised(self) -> bool:
        """Whether calibration gradients count alike, in its bases and in the energies a fixed support is chosen by."""
        return self.calibration is not None and bool(CALIBRATIONS[self.calibration]["normalise"])


# Options of sparsegrad.calibrate. Normalised: every gradient counts the same, whatever its block and step.
CALIBRATIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "shared": {"basis": "shared", "normalise": False},
        "normalised": {"basis": "shared", "normalise": True},
        "per-block": {"basis": "per-block", "normalise": False},
    }
)
SPACES: Mapping[str, Space] = MappingProxyType(
    {
        space.name: space
        for space in (
            Space(name="none", summary="the original space (MeProp's)"),
            Space(name="in", summary="U alone, one a role", calibration="shared", sides="in"),
            Space(name="out", summary="V alone, one a role", calibration="shared", sides="out"),
            Space(name="shared", summary="U and V, one pair a role (the paper's)", calibration="shared"),
            Space(name="normalised", summary="the same of normalised gradients", calibration="normalised"),
            Space(name="per-block", summary="U and V, one pair a linear", calibration="per-block"),
        )
    }
)
# The two that pictures set side by side.
ORIGINAL, ROTATED = "none", "normalised"


def rotations(space: Space, bases: Mapping[str, Bases], targets: Sequence[Target]) -> dict[str, Rotation]:
    """Linear name -> the rotation into ``space``, on the linear's device and in its dtype.

    ``bases``: by the names of ``CALIBRATIONS``. BasesMismatch where they are of another model.
    """
    if space.calibration is None:
        return {target.name: Rotation() for target in targets}
    whole = bases[space.calibration]
    table = {
        key: replace(
            basis,
            u=None if space.sides == "out" else basis.u,
            v=None if space.sides == "in" else basis.v,
        )
        for key, basis in whole.table.items()
    }
    return replace(whole, table=table).rotations(targets)
