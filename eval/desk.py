"""Cells are done once: found by key among the records, or run in a fresh process and filed.

Any number of processes may work at the same cells: a lock a cell, let go by a process that is killed, keeps two from
training the same one. What is unfinished lies in `unfinished/<key>` until its record is written.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any, TypeVar

from bench.environment import code_fingerprint, environment
from bench.fresh import Outcome, run_fresh
from bench.record import Record, Status, record_key
from bench.store import Store
from eval.cell import Cell, Subject
from eval.finetune import calibrate_cell, finetune
from eval.watch import Watch

__all__ = ["Desk"]

KIND, TRIAL, CALIBRATION = "glue", "glue_trial", "glue_calibration"
# Between two tries for a lock that another process holds.
_PATIENCE_S = 0.2

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)
class Desk:
    """Where cells are looked up and filed; one for all threads of a command."""

    store: Store
    command: str
    workers: int
    """Cells at a time, each in a process of its own."""
    threads: int
    """Of torch's operators, a cell."""
    fresh: bool = False
    """Whether to train again what has a record. Bases and the trials of a search are kept."""
    _stopped: threading.Event = field(default_factory=threading.Event)

    def key(self, cell: Cell) -> str:
        """Of request, data, model, code and libraries; not of the machine, which may change between two cells."""
        return self._key(KIND, cell.config(), cell.subject)

    def known(self, cell: Cell) -> Record | None:
        """The cell's ok record, unless all is to be done afresh."""
        return None if self.fresh else self.store.find(KIND, self.key(cell))

    def do(self, cells: Iterable[Cell], done: Callable[[Cell], None]) -> dict[Cell, Record]:
        """Every cell's record, in their order; `done` is called as each is there.

        A cell that fails is a record with its error, and the others go on.
        """
        cells = list(dict.fromkeys(cells))
        self.look_up(cells)

        def job(cell: Cell) -> Record:
            record = self.record(cell)
            done(cell)
            return record

        return dict(zip(cells, self.spread([partial(job, cell) for cell in cells]), strict=True))

    def look_up(self, cells: Iterable[Cell]) -> None:
        """Read what keys are made of. To be called before there are threads: libraries are kept quiet by redirecting
        the whole process's streams."""
        for cell in cells:
            self.fingerprints(cell.subject)

    def spread(self, jobs: Sequence[Callable[[], T]]) -> list[T]:
        """What the jobs return, `workers` at a time. Interrupted, the processes at work are ended; their checkpoints
        stay."""
        with ThreadPoolExecutor(self.workers) as pool:
            futures = [pool.submit(job) for job in jobs]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                self._stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                for process in multiprocessing.active_children():
                    process.kill()
                raise
        return [future.result() for future in futures]

    def record(self, cell: Cell, watch: Watch | None = None) -> Record:
        """The cell's record: the one there is, or a new one.

        A watched run (a trial that may be cut short) is a record of its own: how it ends depends on other trials.
        """
        kind, config = (KIND, cell.config()) if watch is None else (TRIAL, {**cell.config(), **watch.config()})
        key = self._key(kind, config, cell.subject)
        with self.alone(key) as folder:
            known = None if self.fresh and watch is None else self.store.find(kind, key)
            if known is None:
                started = datetime.now(UTC)
                known = self._file(kind, config, cell, started, self._train(cell, folder, watch))
            if known.status is Status.OK:
                shutil.rmtree(folder, ignore_errors=True)
        return known

    def _train(self, cell: Cell, folder: Path, watch: Watch | None) -> Outcome:
        config = cell.calibration_config()
        if config is None:
            return run_fresh(finetune, cell, folder, None, self.threads, watch)
        path = self.store.folder / "bases" / f"{self._key(CALIBRATION, config, cell.subject)}.safetensors"
        calibration = self._calibrated(cell, config, path)
        if calibration.status is not Status.OK:
            return Outcome(status=calibration.status, reason=f"no bases, calibration: {calibration.reason}")
        trained = run_fresh(finetune, cell, folder, path, self.threads, watch)
        if trained.status is not Status.OK:
            return trained
        return replace(trained, value={**trained.value, "calibration_s": calibration.result["calibration_s"]})

    def _calibrated(self, cell: Cell, config: dict[str, Any], path: Path) -> Record:
        """The record of the bases in `path`, which cells that differ in method, rate or budget may share."""
        with self.alone(path.stem):
            known = self.store.find(CALIBRATION, path.stem) if path.is_file() else None
            if known is None:
                started = datetime.now(UTC)
                outcome = run_fresh(calibrate_cell, cell, path, self.threads)
                known = self._file(CALIBRATION, config, cell, started, outcome)
        return known

    def _file(self, kind: str, config: dict[str, Any], cell: Cell, started: datetime, outcome: Outcome) -> Record:
        if self._stopped.is_set():  # its process was ended by us: nothing was found out
            outcome = Outcome(status=Status.INTERRUPTED, reason="interrupted by the user")
        record = Record(
            kind=kind,
            key=self._key(kind, config, cell.subject),
            status=outcome.status,
            reason=outcome.reason,
            config=config,
            fingerprints=self.fingerprints(cell.subject),
            environment=environment(cell.device),
            command=self.command,
            seed=cell.subject.seed,
            started=started.isoformat(),
            ended=datetime.now(UTC).isoformat(),
            result=outcome.value or {},
        )
        self.store.write(record)
        return record

    def _key(self, kind: str, config: dict[str, Any], subject: Subject) -> str:
        return record_key(kind, config, self.fingerprints(subject), {"libraries": self._libraries})

    @contextmanager
    def alone(self, key: str) -> Iterator[Path]:
        """The folder for what is unfinished under this key, held by nobody else meanwhile."""
        locks = self.store.folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with (locks / key).open("w") as lock:
            while not _taken(lock):
                if self._stopped.wait(_PATIENCE_S):
                    raise KeyboardInterrupt
            yield self.store.folder / "unfinished" / key

    def fingerprints(self, subject: Subject) -> dict[str, str]:
        """Of data, tokens, model and code, each read once a command."""
        if subject not in self._told:
            self._told[subject] = {**self._text(subject), "model": subject.source().fingerprint(), "code": self._code}
        return self._told[subject]

    def _text(self, subject: Subject) -> dict[str, str]:
        """Of data and tokens, which all seeds share."""
        anyone = replace(subject, seed=0)
        if anyone not in self._texts:
            source, splits = subject.source(), subject.splits()
            tokens = splits.tokens(subject.words(source), vocabulary=source.config.vocab_size)
            self._texts[anyone] = {"data": splits.fingerprint(), "tokens": tokens}
        return self._texts[anyone]

    @cached_property
    def _told(self) -> dict[Subject, dict[str, str]]:
        return {}

    @cached_property
    def _texts(self) -> dict[Subject, dict[str, str]]:
        return {}

    @cached_property
    def _code(self) -> str:
        """The code that runs is the code that was loaded."""
        return code_fingerprint("sparsegrad", "bench", "eval")

    @cached_property
    def _libraries(self) -> dict[str, str | None]:
        libraries: dict[str, str | None] = environment("cpu")["libraries"]
        return libraries


def _taken(lock: IO[str]) -> bool:
    """Whether the lock is ours now; a process that dies lets go of its own."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
