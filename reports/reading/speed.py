"""A speed record as typed rows; ratios are taken anew from the raw samples, paired by round."""

from __future__ import annotations

from dataclasses import dataclass

from bench.record import Record, Status
from bench.rows import BASELINE, speed_ratio
from bench.stats import RatioInterval, noise_floor, verdict
from bench.train import PHASES
from reports.reading.fields import Fields, Unreadable
from reports.reading.folders import Source

__all__ = ["SpeedRow", "SpeedRun", "read_speed"]


@dataclass(frozen=True, kw_only=True)
class SpeedRow:
    """One method in a run. None is not measured."""

    method: str
    status: str
    reason: str | None
    samples_ms: tuple[float, ...]
    """A step's time in each round; empty where the method failed, or the machine did not hold still."""
    distrusted_ms: tuple[float, ...]
    """What was read where the row is invalid: evidence, no measurement."""
    phases_ms: dict[str, float]
    tokens_per_s: float | None
    peak_bytes: int | None
    peak_instrument: str | None
    trainable_parameters: int | None
    updated_parameters: int | None
    adapter_bytes: int | None
    convert_s: float | None
    calibration_s: float | None
    break_even_steps: float | None
    losses: tuple[float, ...]

    @property
    def step_ms(self) -> float | None:
        """Mean over rounds."""
        return sum(self.samples_ms) / len(self.samples_ms) if self.samples_ms else None

    @property
    def steps_per_s(self) -> float | None:
        """Training steps a second."""
        return None if self.step_ms is None else 1e3 / self.step_ms


@dataclass(frozen=True, kw_only=True)
class SpeedRun:
    """One interleaved run: its rows may be compared with each other, and with no other run's."""

    source: Source
    rows: dict[str, SpeedRow]
    aa: RatioInterval | None
    """Full against itself; None where it was not measured."""
    zero_row_share: float | None
    """Of the rows of dL/dy."""
    active_token_share: float | None
    """Of all positions: the rest is padding."""

    @property
    def record(self) -> Record:
        """Where it all comes from."""
        return self.source.record

    def speed(self, method: str, over: str = BASELINE) -> RatioInterval | None:
        """Speed of one method over another's, paired by round; None where either was not measured."""
        one, other = self.rows.get(method), self.rows.get(over)
        if one is None or other is None or not one.samples_ms or len(one.samples_ms) != len(other.samples_ms):
            return None
        return speed_ratio(other.samples_ms, one.samples_ms)

    def told(self, method: str, over: str = BASELINE) -> str | None:
        """faster, slower or ``~`` against the A/A noise; None where not measured."""
        ratio = self.speed(method, over)
        if ratio is None:
            return None
        return "~" if self.aa is None else verdict(ratio, noise_floor(self.aa))

    def peak_ratio(self, method: str, over: str = BASELINE) -> float | None:
        """Peak memory of one method over another's, by one instrument; None where either was not read."""
        one, other = self.rows.get(method), self.rows.get(over)
        if one is None or other is None or not one.peak_bytes or not other.peak_bytes:
            return None
        return one.peak_bytes / other.peak_bytes if one.peak_instrument == other.peak_instrument else None


def read_speed(source: Source) -> SpeedRun:
    """The run; Unreadable where the record is not one of ``bench.speed``."""
    fields = Fields.of(source.record.result)
    rows = [_row(row) for row in fields.each("rows")]
    if not rows:
        raise Unreadable("result.rows: none")
    twin = fields.inside_or_none("aa")
    workload = fields.inside_or_none("workload")
    by_name = {row.method: row for row in rows}
    if len(by_name) < len(rows):
        raise Unreadable("result.rows: a method stands twice")
    return SpeedRun(
        source=source,
        rows=by_name,
        aa=None if twin is None else _aa(twin, by_name.get(BASELINE)),
        zero_row_share=fields.number_or_none("zero_row_share"),
        active_token_share=None if workload is None else workload.number_or_none("active_token_share"),
    )


def _row(row: Fields) -> SpeedRow:
    phases = {phase: row.number_or_none(f"{phase}_ms") for phase in PHASES}
    return SpeedRow(
        method=row.text("method"),
        status=row.text("status"),
        reason=row.text_or_none("reason"),
        samples_ms=_positive(row, "samples_ms"),
        distrusted_ms=row.numbers("samples_ms") if row.text("status") == Status.INVALID else (),
        phases_ms={phase: spent for phase, spent in phases.items() if spent is not None},
        tokens_per_s=row.number_or_none("tokens_per_s"),
        peak_bytes=row.count_or_none("peak_bytes"),
        peak_instrument=row.text_or_none("peak_instrument"),
        trainable_parameters=row.count_or_none("trainable_parameters"),
        updated_parameters=row.count_or_none("updated_parameters"),
        adapter_bytes=row.count_or_none("adapter_bytes"),
        convert_s=row.number_or_none("convert_s"),
        calibration_s=row.number_or_none("calibration_s"),
        break_even_steps=row.number_or_none("break_even_steps"),
        losses=row.numbers("losses"),
    )


def _positive(row: Fields, name: str) -> tuple[float, ...]:
    """Samples of a method that ran to its end on a machine that held still; what others left is no measurement."""
    if row.text("status") != Status.OK and row.told.get("steps_per_s") is None:
        return ()
    samples = row.numbers(name)
    if not all(sample >= 1e-9 for sample in samples):
        raise Unreadable(f"{row.place}.{name}: times above 0 expected")
    return samples


def _aa(twin: Fields, full: SpeedRow | None) -> RatioInterval | None:
    samples = _positive(Fields({**twin.told, "status": twin.told.get("status", "ok")}, twin.place), "samples_ms")
    if full is None or not samples or len(samples) != len(full.samples_ms):
        return None
    return speed_ratio(full.samples_ms, samples)
