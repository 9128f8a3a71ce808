"""Optuna's search for each method's learning rate and batch size: as many trials for every method, none lost.

Trials are scored on the slice held out of the training split. A study is kept in a file or database that any number of
processes share; which trial is next is decided under a lock, and a trial that a killed process left running is taken
up by whoever comes next, from its last checkpoint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from bench.errors import BadRequest
from bench.record import Record, Status
from eval.cell import Cell
from eval.desk import Desk
from eval.watch import Watch, open_storage, pruner

__all__ = ["BATCHES", "RATES", "Search", "check_storage"]

# Section 4 of the paper.
RATES = (1e-6, 1e-1)
BATCHES = (8, 16, 32)


def check_storage(place: str) -> None:
    """BadRequest for a URL with a password: commands are kept in records."""
    try:
        password = urlsplit(place).password
    except ValueError:
        password = None
    if password is not None:
        raise BadRequest("--storage: leave the password out of the URL and give it as the driver reads it (PGPASSWORD)")


@dataclass(frozen=True, kw_only=True, eq=False)
class Search:
    """The search of one command: so many trials for each pair of task and method."""

    desk: Desk
    storage: str
    trials: int

    def run(self, cells: Sequence[Cell], done: Callable[[Cell], None]) -> dict[Cell, list[tuple[Cell, Record]]]:
        """Every trial of the studies that these cells stand for (their rate and batch are left to the search).

        Returns for each the trials, with their records, in order of their number.
        """
        self.desk.look_up(cells)
        storage = open_storage(self.storage)
        for cell in cells:
            self._study(cell, storage)
        turns = [cell for _ in range(self.trials) for cell in cells]
        found = self.desk.spread([partial(self._next, cell, done) for cell in turns])
        left = [(cell, trial) for cell in cells for trial in self._open(cell)]
        found += self.desk.spread([partial(self._finish, cell, trial, done) for cell, trial in left])
        # What failed here is not tried a second time by the same command.
        here = dict(pair for pair in found if pair is not None)
        return {cell: self._ended(cell, here) for cell in cells}

    def _name(self, cell: Cell) -> str:
        """A study a question: another model, text, code or budget is another study."""
        protocol = {**cell.protocol.as_json(), "batch_size": None, "steps": _examples(cell)}
        asked = {**cell.config(), "lr": None, "protocol": protocol, **self.desk.fingerprints(cell.subject)}
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
        return f"{cell.subject.task} {cell.method} {digest}"

    def _study(self, cell: Cell, storage: Any = None, *, seed: int = 0) -> Any:
        import optuna

        return optuna.create_study(
            study_name=self._name(cell),
            storage=storage or open_storage(self.storage),
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(3, self.trials // 3)),
            pruner=pruner(),
            load_if_exists=True,
        )

    def _next(self, cell: Cell, done: Callable[[Cell], None]) -> tuple[Watch, Record] | None:
        """Begin the next trial of a study and see it through; None where all have been begun."""
        trial = self._begin(cell)
        return None if trial is None else self._finish(cell, trial, done)

    def _begin(self, cell: Cell) -> Any:
        """A new trial, or None. Under a lock, so that no two processes begin one at a time: a trial that is running
        without its values belongs to a process that was killed as it began it, and does not count."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution
        from optuna.trial import TrialState

        space = {"lr": FloatDistribution(*RATES, log=True), "batch_size": CategoricalDistribution(BATCHES)}
        with self.desk.alone(hashlib.sha256(self._name(cell).encode()).hexdigest()[:16]):
            # A seed a trial: two processes would else draw the same values.
            study = self._study(cell)
            for stale in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if stale.params.keys() != space.keys():
                    study.tell(stale.number, state=TrialState.FAIL)
            begun = [trial for trial in study.get_trials(deepcopy=False) if trial.params.keys() == space.keys()]
            if len(begun) >= self.trials:
                return None
            return self._study(cell, seed=len(begun)).ask(space)

    def _open(self, cell: Cell) -> list[Any]:
        """Trials that are begun and not ended: another process is at them, or was killed at them."""
        from optuna.trial import TrialState

        return [
            t for t in self._study(cell).get_trials(deepcopy=False, states=(TrialState.RUNNING,)) if len(t.params) == 2
        ]

    def _finish(self, cell: Cell, trial: Any, done: Callable[[Cell], None]) -> tuple[Watch, Record]:
        """Run the trial, or wait for who does, and tell the study how it ended."""
        from optuna.trial import TrialState

        made, watch = self._trial(cell, trial)
        record = self.desk.record(made, watch)
        study = self._study(cell)
        if record.status is not Status.OK:
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        elif record.result["pruned_at"] is not None:
            study.tell(trial.number, state=TrialState.PRUNED, skip_if_finished=True)
        else:
            study.tell(trial.number, record.result["splits"]["held out"]["headline"], skip_if_finished=True)
        done(made)
        return watch, record

    def _trial(self, cell: Cell, trial: Any) -> tuple[Cell, Watch]:
        """The cell of a trial: its rate, and its batch at as many examples in all."""
        batch = trial.params["batch_size"]
        steps = None if cell.protocol.steps is None else max(1, _examples(cell) // batch)
        protocol = replace(cell.protocol, batch_size=batch, steps=steps)
        made = replace(cell, lr=trial.params["lr"], protocol=protocol)
        return made, Watch(storage=self.storage, study=self._name(cell), number=trial.number)

    def _ended(self, cell: Cell, here: Mapping[Watch, Record]) -> list[tuple[Cell, Record]]:
        """The trials and their records, which are all there by now."""
        trials = [t for t in self._study(cell).get_trials(deepcopy=False) if len(t.params) == 2]
        pairs = [self._trial(cell, trial) for trial in trials[: self.trials]]
        return [(made, here.get(watch) or self.desk.record(made, watch)) for made, watch in pairs]


def _examples(cell: Cell) -> int:
    """Examples, repeats counted, of a run that counts steps; 0 where it counts epochs."""
    return (cell.protocol.steps or 0) * cell.protocol.batch_size
