"""The rounds of one run, from who takes part to the record: what ``bench.speed`` and ``bench.sparsity`` share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from bench.cells import Desk
from bench.entrants import Entry, enter, zero_row_share
from bench.fresh import Outcome
from bench.machine import MachineLog
from bench.record import Record, Status
from bench.rows import failures, result
from bench.timing import Contestant, interleave

__all__ = ["Race", "peaks_of"]


def peaks_of(
    entries: Sequence[Entry], calibrations: Mapping[str, Record], told: Callable[[str], None]
) -> dict[str, Record]:
    """Entry -> the record of its peak; ``told`` hears of each when it is there."""
    peaks = {}
    for entry in entries:
        peaks[entry.name] = entry.desk.peak(entry.method, calibrations.get(entry.name))
        told(f"peak memory: {entry.name}")
    return peaks


@dataclass(kw_only=True, eq=False)
class Race:
    """One run. A context: interrupted within it, it leaves a record of the samples that it has so far.

    ``config``: what the record is of, among it the ``rounds``, ``steps``, ``warmup`` and ``drift`` to run by.
    """

    desk: Desk
    kind: str
    config: dict[str, Any]
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    contestants: list[Contestant] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: object, error: object, _trace: object) -> None:
        if isinstance(error, KeyboardInterrupt):
            so_far = {"samples_ms": {contestant.name: contestant.samples_ms for contestant in self.contestants}}
            self._file(Outcome(status=Status.INTERRUPTED, value=so_far, reason="interrupted by the user"))

    def run(
        self,
        entries: Sequence[Entry],
        calibrations: Mapping[str, Record],
        peaks: Mapping[str, Record],
        told: Callable[[str], None],
    ) -> dict[str, Any]:
        """The interleaved rounds: ``rows.result``, JSON types. ``calibrations``, ``peaks``: by the entries' names."""
        self.started = datetime.now(UTC)
        self.contestants = enter(entries, calibrations, peaks)
        share = zero_row_share(self.desk, self.contestants[-1])
        machine = MachineLog(device=self.desk.request.place())
        interleave(
            self.contestants,
            self.desk.workload.batches,
            rounds=self.config["rounds"],
            steps_per_turn=self.config["steps"],
            warmup_steps=self.config["warmup"],
            progress=told,
            between=machine,
        )
        return result(self.contestants, peaks, calibrations, share, machine, drift=self.config["drift"])

    def file(self, value: dict[str, Any]) -> Record:
        """The record: as its rows are, the first that is not ok giving its status, with all their reasons."""
        bad = [row for row in (*value["rows"], value["aa"]) if row["status"] != Status.OK]
        status = Status(bad[0]["status"]) if bad else Status.OK
        return self._file(Outcome(status=status, value=value, reason="; ".join(failures(value)) or None))

    def _file(self, outcome: Outcome) -> Record:
        return self.desk.file(self.kind, self.config, self.started, outcome)
