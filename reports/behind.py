"""What stands behind a figure: the runs and the raw samples, as the document names them; and what to read it with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.stats import RatioInterval
from reports.document import Detail, Samples
from reports.provenance import run_id
from reports.reading.folders import Source
from reports.reading.several import Difference
from reports.reading.speed import SpeedRow

__all__ = ["behind", "behind_differences", "bracketed", "noted", "step_times"]


def behind(sources: Iterable[Source], samples: Iterable[Samples] = (), note: str | None = None) -> Detail:
    """The detail of a cell that follows from these records."""
    runs = dict.fromkeys(run_id(source.folder, source.record) for source in sources)
    return Detail(runs=tuple(runs), samples=tuple(samples), note=note)


def behind_differences(several: Sequence[Difference]) -> Detail:
    """The detail of a mean over tasks, or of one task's difference: both methods' runs, each seed's difference."""
    return behind(
        (run.source for one in several for name in (one.method, one.over) for run in one.comparison.runs[name]),
        (
            Samples(
                name=f"{one.comparison.task}: {one.method} minus {one.over}, by seed",
                unit="points",
                values=tuple(100 * value for value in one.by_seed),
            )
            for one in several
        ),
        "mean over seeds; the interval covers other items and other seeds",
    )


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
