"""Ways to train one layer: a cell of the grid a record, and the cells of one machine and request as a grid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bench.crossover.ways import DENSE, WAYS
from bench.record import Record
from bench.stats import RatioInterval, noise_floor
from reports.reading.fields import Fields, Unreadable
from reports.reading.folders import Source
from reports.reading.places import setting

__all__ = ["BENEFITS", "CrossoverCell", "CrossoverGrid", "Way", "group_cells", "read_cell"]

BENEFITS = ("total", "padding", "rest", "sparsity")
"""Factors of sd's gain over regular."""
_PLACE = ("out", "inner", "active", "kept")


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way in a cell. None is not measured."""

    status: str
    reason: str | None
    step_ms: float | None
    ratio: RatioInterval | None
    """Its speed over dense's, paired by round."""
    verdict: str | None
    samples_ms: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class CrossoverCell:
    """One layer shape, share of active rows and count of kept entries."""

    source: Source
    out: int
    inner: int
    active: float
    kept: int
    ways: Mapping[str, Way]
    winner: str | None
    over: str | None
    """The next fastest."""
    clear: bool
    """Whether the winner is told from it."""
    benefits: Mapping[str, RatioInterval | None]
    noise: float
    """Of dense against itself, a log ratio; infinite where it was not measured."""
    energy_share: float | None

    @property
    def record(self) -> Record:
        """Where it comes from."""
        return self.source.record

    @property
    def kept_share(self) -> float:
        """Of the layer's entries."""
        return self.kept / (self.out * self.inner)


@dataclass(frozen=True, kw_only=True)
class CrossoverGrid:
    """Cells of one request, code and machine."""

    cells: tuple[CrossoverCell, ...]
    """By shape, active rows and kept entries."""

    @property
    def record(self) -> Record:
        """The newest."""
        return max((cell.record for cell in self.cells), key=lambda record: record.ended)


def read_cell(source: Source) -> CrossoverCell:
    """The cell; Unreadable where the record is none of ``bench.crossover``."""
    fields, asked = Fields.of(source.record.result), Fields.of(source.record.config, "config")
    ways = {row.text("way"): _way(row) for row in fields.each("ways")}
    if missing := [name for name in WAYS if name not in ways]:
        raise Unreadable(f"{fields.place}.ways: no {missing[0]}")
    winner, benefit = fields.inside_or_none("winner"), fields.inside_or_none("sd_benefit")
    names = [None, None] if winner is None else [winner.text("way"), winner.text_or_none("over")]
    if not {name for name in names if name is not None} <= set(WAYS):
        raise Unreadable(f"{fields.place}.winner: one of {', '.join(WAYS)} expected")
    for name in ("tokens", "rounds"):
        asked.at_least(name, 1)
    for name in ("dtype", "device"):
        asked.text(name)
    aa = _ratio(fields.inside_or_none("aa"))
    return CrossoverCell(
        source=source,
        out=int(asked.at_least("out", 1)),
        inner=int(asked.at_least("inner", 1)),
        active=asked.at_least("active", 0),
        kept=int(asked.at_least("kept", 1)),
        ways=ways,
        winner=names[0],
        over=names[1],
        clear=winner is not None and winner.told.get("clear") is True,
        benefits={name: None if benefit is None else _ratio(benefit.inside_or_none(name)) for name in BENEFITS},
        noise=math.inf if aa is None else noise_floor(aa),
        energy_share=fields.number_or_none("energy_share"),
    )


def _way(row: Fields) -> Way:
    return Way(
        status=row.text("status"),
        reason=row.text_or_none("reason"),
        step_ms=row.number_or_none("step_ms"),
        ratio=_ratio(row.inside_or_none("ratio_to_dense")) if row.text("way") != DENSE else None,
        verdict=row.text_or_none("verdict"),
        samples_ms=row.numbers("samples_ms"),
    )


def _ratio(told: Fields | None) -> RatioInterval | None:
    """An end that too few rounds leave open is 0 or infinite."""
    if told is None or told.told.get("mean") is None:
        return None
    low, high = told.number_or_none("low"), told.number_or_none("high")
    return RatioInterval(
        mean=told.at_least("mean", 0.0),
        low=0.0 if low is None else low,
        high=math.inf if high is None else high,
        rounds=told.count_or_none("rounds") or 0,
    )


def group_cells(cells: list[CrossoverCell]) -> list[CrossoverGrid]:
    """Grids, newest first; of one cell measured twice in a grid the newer counts."""
    grids: dict[str, dict[tuple[int, int, float, int], CrossoverCell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.record.ended):
        own = grids.setdefault(setting(cell.record, but=_PLACE, cost=True), {})
        own[cell.out, cell.inner, cell.active, cell.kept] = cell
    made = [CrossoverGrid(cells=tuple(own[place] for place in sorted(own))) for own in grids.values()]
    return sorted(made, key=lambda grid: grid.record.ended, reverse=True)
