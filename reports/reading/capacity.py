"""The largest batch or input within a memory budget, one method a record; compared where all but the method is the
same."""

from __future__ import annotations

from dataclasses import dataclass

from bench.record import Record
from bench.rows import BASELINE
from reports.reading.fields import Fields
from reports.reading.folders import Source
from reports.reading.places import setting

__all__ = ["Capacity", "CapacityGroup", "group_capacities", "read_capacity"]


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """One method's largest size. None is not measured; a size of None: not even the least fits."""

    source: Source
    method: str
    size: int | None
    limited_by: str
    peak_bytes: int | None
    """At that size; where none fits, of the least."""
    instrument: str
    tried: tuple[float, ...]
    """Sizes, in the order in which they were tried."""
    samples_ms: tuple[float, ...]
    steps_per_s: float | None
    speed_ends: tuple[float | None, float | None]
    """Of its 95% interval."""
    not_timed: str | None

    @property
    def record(self) -> Record:
        """Where it comes from."""
        return self.source.record


@dataclass(frozen=True, kw_only=True)
class CapacityGroup:
    """Sizes of one question, code, machine and instrument, by method: what may be compared."""

    find: str
    """batch or length: the size that is looked for."""
    fixed: int
    """The other one."""
    budget_bytes: int
    sizes: dict[str, Capacity]

    @property
    def record(self) -> Record:
        """The newest: it speaks for the setting, which all share."""
        return max((one.record for one in self.sizes.values()), key=lambda record: record.ended)

    def ratio(self, method: str, over: str = BASELINE) -> float | None:
        """Size of one method over another's; None where either is missing."""
        one, other = self.sizes.get(method), self.sizes.get(over)
        return None if one is None or other is None or not one.size or not other.size else one.size / other.size


def read_capacity(source: Source) -> Capacity:
    """The size; Unreadable where the record is none of ``bench.capacity``."""
    fields, asked = Fields.of(source.record.result), Fields.of(source.record.config, "config")
    for name in ("fixed", "budget_bytes"):
        asked.at_least(name, 1)
    asked.text("find")
    peak = fields.count_or_none("peak_bytes")
    interval = fields.inside_or_none("steps_per_s_interval") or Fields({})
    return Capacity(
        source=source,
        method=asked.text("method"),
        size=fields.count_or_none("size"),
        limited_by=fields.text("limited_by"),
        peak_bytes=fields.count_or_none("least_misfit_bytes") if peak is None else peak,
        instrument=fields.text("instrument"),
        tried=tuple(probe.at_least("size", 1) for probe in fields.each("probes")),
        samples_ms=fields.numbers("samples_ms"),
        steps_per_s=fields.number_or_none("steps_per_s"),
        speed_ends=(interval.number_or_none("low"), interval.number_or_none("high")),
        not_timed=fields.text_or_none("not_timed"),
    )


def group_capacities(found: list[Capacity]) -> list[CapacityGroup]:
    """Groups of what may be compared, newest first; of one method searched twice in a group the newer counts."""
    groups: dict[str, dict[str, Capacity]] = {}
    for one in sorted(found, key=lambda one: one.record.ended):
        predicted = one.instrument == "predicted"  # on shapes: no machine is in it, but where steps were timed
        alike = setting(one.record, but=("method",), cost=not predicted or one.record.config.get("times") is True)
        groups.setdefault(one.instrument + alike, {})[one.method] = one
    made = [_group(own) for own in groups.values()]
    return sorted(made, key=lambda group: group.record.ended, reverse=True)


def _group(own: dict[str, Capacity]) -> CapacityGroup:
    asked = Fields.of(next(iter(own.values())).record.config, "config")
    return CapacityGroup(
        find=asked.text("find"), fixed=int(asked.number("fixed")), budget_bytes=int(asked.number("budget_bytes")),
        sizes=own,
    )  # fmt: skip
