"""Cells are done once: found by key among the records, or run in a fresh process and filed.

Any number of processes may work at the same cells: a lock a cell, let go by a process that is killed, keeps two from
training the same one. What is unfinished lies in `unfinished/<key>` until its record is written.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import shutil
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any, TypeVar

from bench.calibration import intact
from bench.environment import code_fingerprint, environment
from bench.errors import BadRequest
from bench.fresh import Outcome, run_fresh
from bench.record import Record, Status, record_key
from bench.store import Store
from eval.ending import settled
from eval.job import Job, Source
from eval.launched import Start
from eval.watch import Watch

__all__ = ["Desk", "state_of"]

# Between two tries for a lock that another process holds.
_PATIENCE_S = 0.2

T = TypeVar("T")
J = TypeVar("J", bound=Job)


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
    start: Start = run_fresh
    """Begins a training in a process of its own, or in several (`eval.launched`)."""
    _stopped: threading.Event = field(default_factory=threading.Event)

    def key(self, cell: Job) -> str:
        """Of request, data, model, code and libraries; not of the machine, which may change between two cells."""
        return self._key(cell.kind, cell.config(), cell.subject)

    def known(self, cell: Job) -> Record | None:
        """The cell's record, where the same request would only repeat it, unless all is to be done afresh."""
        return None if self.fresh else self.store.find(cell.kind, self.key(cell), settled)

    def do(self, cells: Iterable[J], done: Callable[[J], None]) -> dict[J, Record]:
        """Every cell's record, in their order; `done` is called as each is there.

        A cell that fails is a record with its error, and the others go on.
        """
        cells = list(dict.fromkeys(cells))
        self.look_up(cells)

        def job(cell: J) -> Record:
            record = self.record(cell)
            done(cell)
            return record

        return dict(zip(cells, self.spread([partial(job, cell) for cell in cells]), strict=True))

    def look_up(self, cells: Iterable[Job]) -> None:
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

    def record(self, cell: Job, watch: Watch | None = None) -> Record:
        """The cell's record: the one there is, or a new one.

        A watched run (a trial that may be cut short) is a record of its own: how it ends depends on other trials.
        """
        kind, config = self.asked(cell, watch)
        key = self._key(kind, config, cell.subject)
        with self.alone(key) as folder:
            known = None if self.fresh and watch is None else self.store.find(kind, key, settled)
            if known is None:
                started = datetime.now(UTC)
                known = self._file(kind, config, cell, started, self._train(cell, folder, watch))
            if settled(known):
                shutil.rmtree(folder, ignore_errors=True)
        return known

    @staticmethod
    def asked(cell: Job, watch: Watch | None) -> tuple[str, dict[str, Any]]:
        """Kind and config of the cell's record."""
        if watch is None:
            return cell.kind, cell.config()
        return f"{cell.kind}_trial", {**cell.config(), **watch.config()}

    def trace(self, cell: Job) -> dict[str, Any]:
        """What beside the request makes the cell's key: fingerprints, and versions of libraries."""
        return {**self.fingerprints(cell.subject), "libraries": self._libraries}

    def _train(self, cell: Job, folder: Path, watch: Watch | None) -> Outcome:
        config = cell.calibration_config()
        if config is None:
            return self.start(cell.train, folder, None, self.threads, watch)
        path = self.store.folder / "bases" / f"{self._key(_bases_of(cell), config, cell.subject)}.safetensors"
        calibration = self._calibrated(cell, config, path)
        if calibration.status is not Status.OK:
            return Outcome(status=calibration.status, reason=f"no bases, calibration: {calibration.reason}")
        trained = self.start(cell.train, folder, path, self.threads, watch)
        if trained.status is not Status.OK:
            return trained
        return replace(trained, value={**trained.value, "calibration_s": calibration.result["calibration_s"]})

    def _calibrated(self, cell: Job, config: dict[str, Any], path: Path) -> Record:
        """The record of the bases in `path`, which cells that differ in method, rate or budget may share."""
        with self.alone(path.stem):
            known = self.store.find(_bases_of(cell), path.stem) if intact(path) else None
            if known is None:
                started = datetime.now(UTC)
                outcome = run_fresh(cell.calibrate, path, self.threads)
                known = self._file(_bases_of(cell), config, cell, started, outcome)
        return known

    def _file(self, kind: str, config: dict[str, Any], cell: Job, started: datetime, outcome: Outcome) -> Record:
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

    def _key(self, kind: str, config: dict[str, Any], subject: Source) -> str:
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

    def fingerprints(self, subject: Source) -> dict[str, str]:
        """Of data, tokens, model and code, each read once a command."""
        if subject not in self._told:
            self._told[subject] = {**self._text(subject), "model": subject.model_fingerprint(), "code": self._code}
        return self._told[subject]

    def _text(self, subject: Source) -> dict[str, str]:
        """Of data and tokens, which all seeds share."""
        text = subject.text()
        if text not in self._texts:
            self._texts[text] = subject.text_fingerprints()
        return self._texts[text]

    @cached_property
    def _told(self) -> dict[Source, dict[str, str]]:
        return {}

    @cached_property
    def _texts(self) -> dict[Hashable, dict[str, str]]:
        return {}

    @cached_property
    def _code(self) -> str:
        """The code that runs is the code that was loaded."""
        return code_fingerprint("sparsegrad", "bench", "eval")

    @cached_property
    def _libraries(self) -> dict[str, str | None]:
        libraries: dict[str, str | None] = environment("cpu")["libraries"]
        return libraries


def state_of(record: Record | None) -> str:
    """What a dry run says of a run with this record."""
    if record is None:
        return "to be run"
    return f"{'done' if record.status is Status.OK else 'diverged'}, {record.ended[:16]} UTC"


def _bases_of(cell: Job) -> str:
    """The kind of the records of its bases."""
    return f"{cell.kind}_calibration"


def _taken(lock: IO[str]) -> bool:
    """Whether the lock is ours now; a process that dies lets go of its own."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # without a lock two processes would write the same checkpoints
        raise BadRequest(
            f"--out: its file system keeps no locks ({error.strerror}); give a folder on one that does"
        ) from None
    return True
