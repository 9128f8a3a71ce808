"""What stands behind a figure: the runs and the raw samples, as the document names them; and what to read it with."""

from __future__ import annotations

from collections.abc import Iterable

from bench.stats import RatioInterval
from reports.document import Detail, Samples
from reports.provenance import run_id
from reports.reading.folders import Source
from reports.reading.speed import SpeedRow

__all__ = ["behind", "bracketed", "noted", "step_times"]


def behind(sources: Iterable[Source], samples: Iterable[Samples] = (), note: str | None = None) -> Detail:
    """The detail of a cell that follows from these records."""
    runs = dict.fromkeys(run_id(source.folder, source.record) for source in sources)
    return Detail(runs=tuple(runs), samples=tuple(samples), note=note)


def noted(sources: Iterable[Source]) -> tuple[str, ...]:
    """What their folders say of themselves, each once: a note of the table."""
    told = dict.fromkeys((source.folder, source.note) for source in sources if source.note)
    return tuple(f"{folder}: {note}" for folder, note in told)


def step_times(row: SpeedRow) -> Samples:
    """A method's raw samples."""
    return Samples(name=f"{row.method}: time of a step, by round", unit="ms", values=row.samples_ms)


def bracketed(ratio: RatioInterval) -> str:
    """``[1.58, 1.64]``; an end that too few rounds leave open is inf."""
    return f"[{ratio.low:.2f}, {ratio.high:.2f}]"
