"""What stands behind a figure: the runs and the raw samples, as the document names them."""

from __future__ import annotations

from collections.abc import Iterable

from bench.stats import RatioInterval
from reports.document import Detail, Samples
from reports.provenance import run_id
from reports.reading.folders import Source
from reports.reading.speed import SpeedRow

__all__ = ["behind", "bracketed", "step_times"]


def behind(sources: Iterable[Source], samples: Iterable[Samples] = (), note: str | None = None) -> Detail:
    """The detail of a cell that follows from these records."""
    runs = dict.fromkeys(run_id(source.folder, source.record) for source in sources)
    return Detail(runs=tuple(runs), samples=tuple(samples), note=note)


def step_times(row: SpeedRow) -> Samples:
    """A method's raw samples."""
    return Samples(name=f"{row.method}: time of a step, by round", unit="ms", values=row.samples_ms)


def bracketed(ratio: RatioInterval) -> str:
    """``[1.58, 1.64]``; an end that too few rounds leave open is inf."""
    return f"[{ratio.low:.2f}, {ratio.high:.2f}]"
