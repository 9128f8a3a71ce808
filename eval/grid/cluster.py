"""A desk whose cells run as Ray tasks: the record is written where the cell has run, into the one shared folder.

Nothing hangs on the driver: a worker that is lost is replaced (`retries`), and goes on from the last checkpoint; a cell
whose driver died has its record all the same, or is run by the next command. A lock a cell keeps two from one cell,
also a worker that Ray gave up and that works on. Where machines cannot see each other's locks, both would write the
same checkpoints: such a folder is not for two commands at a time.
"""

from __future__ import annotations

import os
import platform
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from bench.cli import say
from bench.errors import BadRequest
from bench.fresh import Outcome
from bench.record import Record, Status
from bench.store import Store
from eval.desk import Desk
from eval.job import Job, Source
from eval.mtbench.hostile import one_line
from eval.watch import Watch

__all__ = ["Cluster", "Needs", "joined"]

T = TypeVar("T")
_GIB = 2**30
# Of a process that has imported what a cell needs; and fp32 weights, gradients and two averages of a parameter.
_PROCESS_BYTES, _PARAMETER_BYTES = 2 * _GIB, 16
# A machine that answers at all does so at once; of Ray's own words, in characters.
_ANSWER_S, _SAID = 10, 300
# What a task may lack, in Ray's words: the option of the task, what is counted and in which unit, the word for less.
_RESOURCES = {
    "CPU": ("num_cpus", "cores", 1, "--cpus"),
    "GPU": ("num_gpus", "GPUs", 1, "--gpus"),
    "memory": ("memory", "GiB of memory", _GIB, "--memory-gib"),
}


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What one cell asks of a machine."""

    cpus: int
    gpus: float
    memory_bytes: int | None
    """Of the host; None: by the model's size."""
    retries: int

    def __post_init__(self) -> None:
        for word, value, least in (("cpus", self.cpus, 1), ("gpus", self.gpus, 0), ("retries", self.retries, 0)):
            if value < least:
                raise BadRequest(f"--{word} {value} is too small; give {least} or more")
        if self.memory_bytes is not None and self.memory_bytes <= 0:
            raise BadRequest("--memory-gib is too small; give more than 0")

    def of(self, cell: Job) -> dict[str, Any]:
        """Options of the cell's task."""
        return {
            "num_cpus": self.cpus,
            "num_gpus": self.gpus,
            "memory": self.memory_bytes or _estimated(cell),
            "max_retries": self.retries,
        }


@contextmanager
def joined(address: str, *, cells: int, needs: Needs) -> Iterator[None]:
    """Ray started here for so many cells at a time ("local"), or joined; BadRequest where that cannot be."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise BadRequest("--ray: Ray is not installed; pip install 'sparsegrad[scale]'") from None
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    try:
        if address == "local":
            gpus = None if needs.gpus else 0
            ray.init(address, num_cpus=cells * needs.cpus, num_gpus=gpus, include_dashboard=False, **quiet)
        else:
            _check_answers(address)
            # Left alone it tries twenty times, each as long as a minute.
            os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "2")
            ray.init(address, **quiet)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise BadRequest(f"--ray {address}: {_refusal(error)}") from None
    with redirect_stdout(sys.stderr):  # where Ray tells of lost workers, to its last breath; stdout is the result's
        try:
            yield
        finally:
            ray.shutdown()


def _check_answers(address: str) -> None:
    """OSError where nobody listens at host:port, which Ray would try for minutes to find out."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit() and int(port) < 2**16:  # anything else Ray refuses at once, or finds by itself
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()


def _refusal(error: Exception) -> str:
    """What Ray said as it did not let us in, on one line, and what to do. Why may stand in what the error came of."""
    said = f"{error} {error.__cause__ or ''}"
    first = one_line(str(error).partition("Last connection error")[0], _SAID).rstrip(".")
    if "Version mismatch" in said:
        return f"{first}; install the cluster's versions here, or these there"
    if "uthenticat" in said:
        what = first.partition(". ")[0]  # its advice goes on for several sentences
        return f"{what}; give the cluster's token as Ray reads it, in RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
    return f"{first}; give local, or the address of a cluster (ray start)"


@dataclass(frozen=True, kw_only=True, eq=False)
class Cluster(Desk):
    """As `Desk`, but a cell is a Ray task. `threads` are a task's."""

    needs: Needs
    waits: bool
    """Whether a machine that is large enough may still join."""

    def look_up(self, cells: Iterable[Job]) -> None:
        """As the desk's; BadRequest, or a line to whoever waits, for a cell to be run that no machine here holds."""
        cells = list(cells)
        super().look_up(cells)
        left = [cell for cell in cells if self.known(cell) is None]
        for lack in dict.fromkeys(_lacking(self.needs.of(cell)) for cell in left):
            if lack is not None and not self.waits:
                raise BadRequest(f"--ray local: {lack}")
            if lack is not None:
                say(f"--ray: {lack}; waiting for another")

    def spread(self, jobs: Sequence[Callable[[], T]]) -> list[T]:
        """As the desk's: a thread here waits for each task. Interrupted, the tasks end with Ray."""
        import ray

        try:
            return super().spread(jobs)
        except BaseException:
            ray.shutdown()
            raise

    def record(self, cell: Job, watch: Watch | None = None) -> Record:
        """The cell's record: the one there is, or one that a worker has written.

        A cell whose worker is lost time and again is recorded as interrupted. BadRequest where a worker has other code,
        data or libraries than this machine: its record would be found by nobody.
        """
        import ray

        if watch is None and (known := self.known(cell)) is not None:
            return known
        started = datetime.now(UTC)
        place = (str(self.store.folder.resolve()), self.command, self.threads, self.fresh)
        task = ray.remote(_recorded).options(name=cell.name, **self.needs.of(cell))
        try:
            answer: Record | str = ray.get(task.remote(os.getcwd(), place, cell, watch, self.trace(cell)))
        except ray.exceptions.RayTaskError as error:
            return self._lost(cell, watch, started, str(error.cause))
        except ray.exceptions.OutOfMemoryError as error:
            return self._lost(cell, watch, started, str(error), Status.OOM)
        except ray.exceptions.RayError as error:
            lost = f"{type(error).__name__}: the worker was lost"
            return self._lost(cell, watch, started, lost, Status.INTERRUPTED)
        if isinstance(answer, str):
            raise BadRequest(answer)
        return answer

    def _lost(
        self, cell: Job, watch: Watch | None, started: datetime, reason: str, status: Status = Status.ERROR
    ) -> Record:
        kind, config = self.asked(cell, watch)
        outcome = Outcome(status=status, reason=reason.strip().splitlines()[0])
        return self._file(kind, config, cell, started, outcome)


@cache
def _desk(folder: str, command: str, threads: int, fresh: bool) -> Desk:
    """One a worker process: what it has read of models and texts serves its next cell."""
    return Desk(store=Store(Path(folder)), command=command, workers=1, threads=threads, fresh=fresh)


def _lacking(wanted: Mapping[str, float]) -> str | None:
    """What no machine offers as much of as the task wants; None where there is enough of all."""
    import ray

    offers = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for name, (option, what, unit, word) in _RESOURCES.items():
        most = max((offer.get(name, 0.0) for offer in offers), default=0.0)
        if wanted[option] > most:
            asked = f"a cell asks for {wanted[option] / unit:.3g} {what}"
            return f"{asked}, no machine offers Ray more than {most / unit:.3g}; ask for less with {word}"
    return None


def _recorded(
    folder: str, place: tuple[str, str, int, bool], cell: Job, watch: Watch | None, trace: dict[str, Any]
) -> Record | str:
    """In a worker: the cell's record, or why none that the driver would find can be made here.

    `folder`: the driver's own, which its relative paths start from.
    """
    with suppress(OSError):  # not there: a relative path is not there either, and says so itself
        os.chdir(folder)
    desk = _desk(*place)
    own = desk.trace(cell)
    if odd := [name for name, value in trace.items() if own[name] != value]:
        return (
            f"{platform.node()} has other {', '.join(odd)} than this machine: install the same version of "
            "sparsegrad and its libraries everywhere, and give paths that mean the same there"
        )
    return desk.record(cell, watch)


def _estimated(cell: Job) -> int:
    """Bytes of host memory, from the model's parameters where the cell can say them."""
    return _PROCESS_BYTES + _PARAMETER_BYTES * _parameters(cell.subject)


@cache
def _parameters(subject: Source) -> int:
    """Of the model, as far as it says what it is."""
    source = getattr(subject, "source", None)
    return 0 if source is None else sum(parameter.numel() for parameter in source().outline().parameters())
