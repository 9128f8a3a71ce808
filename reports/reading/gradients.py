"""Gradient readings: how much of the squared norm the largest entries hold, by role, space and block."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from bench.record import Record
from reports.reading.fields import Fields, Unreadable
from reports.reading.folders import Source

__all__ = ["GradientRun", "read_gradients"]

_FIGURES = ("energy_share", "flatness")


@dataclass(frozen=True, kw_only=True)
class GradientRun:
    """Readings through one training run."""

    source: Source
    figures: Mapping[tuple[str, str, str], Mapping[int, float]]
    """(figure, role, space) -> by block, the mean over the readings."""

    @property
    def record(self) -> Record:
        """Where it comes from."""
        return self.source.record

    def roles(self) -> list[str]:
        """In the order in which they were read."""
        return list(dict.fromkeys(role for _, role, _ in self.figures))

    def paired(self, figure: str, role: str, one: str, other: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The figure in two spaces, block by block, of the blocks that have both."""
        ours, theirs = self.figures.get((figure, role, one), {}), self.figures.get((figure, role, other), {})
        blocks = sorted(ours.keys() & theirs.keys())
        return tuple(ours[block] for block in blocks), tuple(theirs[block] for block in blocks)


def read_gradients(source: Source) -> GradientRun:
    """The run; Unreadable where the record is none of ``bench.gradients``."""
    by_block: dict[tuple[str, str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    rows = Fields.of(source.record.result).each("rows")
    for row in rows:
        role, space, block = row.text("role"), row.text("space"), int(row.number("block"))
        for name in _FIGURES:
            if (value := row.number_or_none(name)) is not None:
                by_block[name, role, space][block].append(value)
    if not by_block:
        raise Unreadable("result.rows: no reading")
    figures = {key: {block: fmean(values) for block, values in own.items()} for key, own in by_block.items()}
    return GradientRun(source=source, figures=figures)
