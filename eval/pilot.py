"""A budget of time: a short run of each method says how many updates fit the reference's time.

Seconds are a machine's own: a pilot's record is keyed by the machine too, and on another machine other numbers of
updates follow. What the runs then took stands in the table, beside what they were allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from bench.environment import environment, identity
from bench.errors import BadRequest
from bench.record import Record, Status
from eval.cell import Cell, Subject
from eval.desk import Desk
from eval.study import TRIAL_SEED, Study
from eval.watch import Watch

__all__ = ["PILOT_STEPS", "Pilot", "equal_steps", "timed"]

# Two updates are watched for memory and not timed; eighteen are, on the same batches for every method.
PILOT_STEPS = 20


@dataclass(frozen=True, kw_only=True)
class Pilot:
    """The first updates of a run, timed; see `eval.job.Job`."""

    kind: ClassVar[str] = "glue_pilot"
    cell: Cell
    """With `PILOT_STEPS` updates."""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.cell.subject.task} {self.cell.method}, timed over {self.cell.protocol.steps} updates"

    @property
    def subject(self) -> Subject:
        """What it starts from."""
        return self.cell.subject

    @property
    def device(self) -> str:
        """Where it runs."""
        return self.cell.device

    def config(self) -> dict[str, Any]:
        """JSON types: the run's, and the machine whose seconds these are."""
        return {**self.cell.config(), "machine": identity(environment(self.device))}

    def calibration_config(self) -> dict[str, Any] | None:
        """As the run's: its bases are shared."""
        return self.cell.calibration_config()

    def train(self, folder: Path, bases: Path | None, threads: int, watch: Watch | None) -> dict[str, Any]:
        """Seconds of an update and of conversion; the desk adds those of calibration."""
        told = self.cell.train(folder, bases, threads, watch)
        return {name: told[name] for name in ("step_s", "convert_s", "steps", "threads", "processes")}

    def calibrate(self, path: Path, threads: int) -> dict[str, Any]:
        """As the run does."""
        return self.cell.calibrate(path, threads)


def equal_steps(steps: int, reference: dict[str, Any], method: dict[str, Any]) -> int:
    """Updates of ``method`` that take as long as ``steps`` of ``reference``, what comes before the first counted in.

    Both are results of pilots. 0 or less where calibration alone takes the whole time.
    """

    def before(told: dict[str, Any]) -> float:
        return float(told["convert_s"] + told.get("calibration_s", 0.0))

    if method is reference:
        return steps
    return int((before(reference) + steps * reference["step_s"] - before(method)) / method["step_s"])


def pilots(study: Study, task: str) -> dict[str, Pilot]:
    """Method -> its pilot."""
    made = {}
    for method in study.methods:
        cell = study.cell(task, method, seed=TRIAL_SEED, lr=min(study.rates(task)), scored_on="held out")
        made[method] = Pilot(cell=replace(cell, protocol=cell.protocol.with_words(steps=PILOT_STEPS)))
    return made


def timed(study: Study, desk: Desk, done: Callable[[str], None]) -> tuple[Study, list[Record]]:
    """The study with every method's updates set by the reference's time, and the pilots' records.

    One pilot runs at a time, whatever the workers: they would slow each other. A method whose pilot fails keeps the
    protocol's updates, and is told as failed. BadRequest where the reference fails, or a method's calibration alone
    takes the time of all the reference's updates.
    """
    allowed: dict[tuple[str, str], int] = {}
    records: list[Record] = []
    for task in study.tasks:
        made = pilots(study, task)
        desk.look_up(made.values())
        told = {}
        for method, pilot in made.items():
            records.append(record := desk.record(pilot))
            if record.status is Status.OK:
                told[method] = record.result
            elif method == study.reference:
                raise BadRequest(f"--budget time: {pilot.name}: {record.status}: {record.reason}; give a --reference")
            done(pilot.name)
        steps = study.protocol.steps
        assert steps is not None
        for method in told:
            allowed[task, method] = equal_steps(steps, told[study.reference], told[method])
            if allowed[task, method] < 1:
                spent = told[method].get("calibration_s", 0.0)
                raise BadRequest(
                    f"--budget time: {method}'s calibration ({spent:.0f} s) takes as long as {steps} steps of "
                    f"{study.reference}; give more --steps, or leave {method} out"
                )
    return replace(study, allowed=allowed), records
