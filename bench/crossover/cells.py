"""Cells of the grid found among the records, or measured in a fresh process and recorded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from bench.crossover.grid import Cell
from bench.crossover.measure import measure_cell
from bench.environment import code_fingerprint, environment, identity
from bench.fresh import Outcome, run_fresh
from bench.record import Record, Status, record_key
from bench.store import Store

__all__ = ["CrossoverDesk"]

_KIND = "crossover"


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossoverDesk:
    """Where cells are looked up and filed. Data and weights are made up from the cell: its fields stand for both."""

    store: Store
    device: str
    command: str
    drift: str
    fresh: bool

    @cached_property
    def _identity(self) -> dict[str, Any]:
        return identity(environment(self.device))

    @cached_property
    def _fingerprints(self) -> dict[str, str]:
        """Read once: the code that runs is the code that was loaded."""
        return {"code": code_fingerprint("sparsegrad", "bench")}

    def _config(self, cell: Cell) -> dict[str, Any]:
        return {**cell.config(), "drift": self.drift}

    def _key(self, cell: Cell) -> str:
        return record_key(_KIND, self._config(cell), self._fingerprints, self._identity)

    def known(self, cell: Cell) -> Record | None:
        """The cell's ok record, unless everything is to be measured afresh."""
        return None if self.fresh else self.store.find(_KIND, self._key(cell))

    def record(self, cell: Cell) -> Record:
        """The one there is, or a new one from a process of its own."""
        known = self.known(cell)
        if known is not None:
            return known
        started = datetime.now(UTC)
        try:
            outcome = settled(run_fresh(measure_cell, cell, self.drift))
        except KeyboardInterrupt:
            self._file(cell, started, Outcome(status=Status.INTERRUPTED, reason="interrupted by the user"))
            raise
        return self._file(cell, started, outcome)

    def _file(self, cell: Cell, started: datetime, outcome: Outcome) -> Record:
        record = Record(
            kind=_KIND,
            key=self._key(cell),
            status=outcome.status,
            reason=outcome.reason,
            config=self._config(cell),
            fingerprints=self._fingerprints,
            environment=environment(self.device),
            command=self.command,
            seed=cell.seed,
            started=started.isoformat(),
            ended=datetime.now(UTC).isoformat(),
            result=outcome.value or {},
        )
        return self.store.file(record, again=self.fresh)


def settled(outcome: Outcome) -> Outcome:
    """The cell is as its ways are: the first that is not ok gives its status, and all their reasons are told."""
    bad = [row for row in (outcome.value or {"ways": []})["ways"] if row["status"] != Status.OK]
    if outcome.status is not Status.OK or not bad:
        return outcome
    said: dict[str, list[str]] = {}
    for row in bad:
        said.setdefault(f"{row['status']}: {row['reason']}", []).append(row["way"])
    why = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in said.items())
    return Outcome(status=Status(bad[0]["status"]), value=outcome.value, reason=why)
