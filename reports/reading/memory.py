"""Peak memory, measured or predicted, one method a record; compared where all but the method is the same."""

from __future__ import annotations

from dataclasses import dataclass

from bench.record import Record
from reports.reading.fields import Fields
from reports.reading.folders import Source
from reports.reading.places import setting

__all__ = ["Peak", "PeakGroup", "group_peaks", "read_peak"]


@dataclass(frozen=True, kw_only=True)
class Peak:
    """One method's peak. None is not measured."""

    source: Source
    method: str
    instrument: str
    """cuda, tracked (live tensor storages on a CPU) or predicted."""
    peak_bytes: int
    by_phase_bytes: dict[str, float]
    trainable_parameters: int | None
    updated_parameters: int | None
    adapter_bytes: int | None
    saved_bytes: int | None
    """Held for the backward when the forward ends."""
    leak_bytes: float | None
    """More alive after each step than after the one before."""
    requested_bytes: int | None
    """CUDA alone: before the allocator rounds, and what it holds from the driver."""
    reserved_bytes: int | None

    @property
    def record(self) -> Record:
        """Where it comes from."""
        return self.source.record


@dataclass(frozen=True, kw_only=True)
class PeakGroup:
    """Peaks of one workload, code, machine and instrument, by method: what may be compared."""

    instrument: str
    peaks: dict[str, Peak]

    @property
    def record(self) -> Record:
        """The newest: it speaks for the setting, which all share."""
        return max((peak.record for peak in self.peaks.values()), key=lambda record: record.ended)

    def ratio(self, method: str, over: str) -> float | None:
        """Peak of one method over another's; None where either is missing."""
        one, other = self.peaks.get(method), self.peaks.get(over)
        return None if one is None or other is None else one.peak_bytes / other.peak_bytes


def read_peak(source: Source) -> Peak:
    """The peak; Unreadable where the record is none of ``bench.memory`` or ``bench.speed``."""
    fields = Fields.of(source.record.result)
    asked = Fields.of(source.record.config, "config")
    return Peak(
        source=source,
        method=asked.text("method"),
        instrument=fields.text("instrument"),
        peak_bytes=int(fields.at_least("peak_bytes", 1)),
        by_phase_bytes=fields.table("by_phase_bytes"),
        trainable_parameters=fields.count_or_none("trainable_parameters"),
        updated_parameters=fields.count_or_none("updated_parameters"),
        adapter_bytes=fields.count_or_none("adapter_bytes"),
        saved_bytes=fields.count_or_none("saved_for_backward_bytes"),
        leak_bytes=fields.number_or_none("leak_bytes_per_step"),
        requested_bytes=fields.count_or_none("requested_bytes"),
        reserved_bytes=fields.count_or_none("reserved_bytes"),
    )


def group_peaks(peaks: list[Peak]) -> list[PeakGroup]:
    """Groups of what may be compared, newest first; of one method measured twice in a group the newer counts."""
    groups: dict[tuple[str, str], dict[str, Peak]] = {}
    for peak in sorted(peaks, key=lambda peak: peak.record.ended):
        # A prediction runs on shapes: no machine is in it.
        alike = setting(peak.record, but=("method", "device"), cost=peak.instrument != "predicted")
        groups.setdefault((peak.instrument, alike), {})[peak.method] = peak
    found = [PeakGroup(instrument=instrument, peaks=own) for (instrument, _), own in groups.items()]
    return sorted(found, key=lambda group: group.record.ended, reverse=True)
