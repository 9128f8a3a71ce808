"""What making the bases cost: seconds, and the peak of one batch."""

from __future__ import annotations

from dataclasses import dataclass

from bench.record import Record
from reports.reading.fields import Fields
from reports.reading.folders import Source

__all__ = ["Calibration", "read_calibration"]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """One preliminary phase. None is not measured."""

    source: Source
    seconds: float
    steps: int | None
    basis: str | None
    peak_bytes: int | None
    instrument: str | None

    @property
    def record(self) -> Record:
        """Where it comes from."""
        return self.source.record


def read_calibration(source: Source) -> Calibration:
    """The calibration; Unreadable where the record is none."""
    fields = Fields.of(source.record.result)
    return Calibration(
        source=source,
        seconds=fields.number("calibration_s"),
        steps=fields.count_or_none("steps"),
        basis=fields.text_or_none("basis"),
        peak_bytes=fields.count_or_none("peak_bytes"),
        instrument=fields.text_or_none("instrument"),
    )
