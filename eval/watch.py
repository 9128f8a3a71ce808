"""A trial that is watched while it trains: its scores on the held-out slice go to the study, which may end it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BadRequest
from bench.hub import first_line
from bench.store import look

__all__ = ["EVALUATIONS", "Watch", "open_storage"]

# Of a trial: at each but the last it may be pruned.
EVALUATIONS = 4


@dataclass(frozen=True, kw_only=True)
class Watch:
    """A running trial of a study, told so that another process can find it."""

    storage: str
    """File of an Optuna journal, or a database URL."""
    study: str
    number: int
    """Of the trial in its study, from 0."""

    def config(self) -> dict[str, Any]:
        """What of it goes into a record: not where the study is kept."""
        return {"study": self.study, "trial": self.number}

    def trial(self) -> Any | None:
        """The trial, to report to; None where it has ended: one that failed is run again for its record alone."""
        import optuna

        study = optuna.load_study(study_name=self.study, storage=open_storage(self.storage), pruner=pruner())
        frozen = next(trial for trial in study.get_trials(deepcopy=False) if trial.number == self.number)
        return None if frozen.state.is_finished() else optuna.trial.Trial(study, frozen._trial_id)

    def callback(self) -> Any:
        """For the Trainer: report each evaluation, end the run where the study says so; then `pruned` is set."""
        from transformers import TrainerCallback

        class Report(TrainerCallback):
            """One number an evaluation."""

            def __init__(self, trial: Any | None) -> None:
                self.trial = trial
                self.pruned = False

            def on_train_begin(self, args: Any, state: Any, control: Any, **words: Any) -> None:
                """Killed between the verdict and the end, a resumed run hears the verdict again."""
                if state.global_step:
                    self._hear(control)

            def on_evaluate(self, args: Any, state: Any, control: Any, **words: Any) -> None:
                """Reported twice, as after a resume, a step keeps its first number."""
                if self.trial is not None:
                    self.trial.report(words["metrics"]["eval_headline"], state.global_step)
                self._hear(control)

            def _hear(self, control: Any) -> None:
                # A numpy bool is no JSON, which a checkpoint is.
                self.pruned = self.trial is not None and bool(self.trial.should_prune())
                control.should_training_stop = control.should_training_stop or self.pruned

        return Report(self.trial())


def pruner() -> Any:
    """Ends a trial whose best score so far is below the median of the others' at that update."""
    import optuna

    return optuna.pruners.MedianPruner(n_startup_trials=3)


def open_storage(place: str, *, dry: bool = False) -> Any:
    """The storage at a URL or in a file; BadRequest where it cannot be opened.

    `dry`: None, and nothing is written; what can be seen without asking a database is all that is refused.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        if dry:
            _look(place)
            return None
        if "://" in place:
            return optuna.storages.get_storage(place)
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        return optuna.storages.JournalStorage(JournalFileBackend(place))
    except Exception as error:
        # A driver that is not there, a server that is not, a file that is no journal: each another exception.
        raise BadRequest(f"--storage: cannot be opened ({first_line(error)}); give a file, or a URL") from error


def _look(place: str) -> None:
    """An exception where the storage can be seen not to open."""
    from sqlalchemy import create_engine

    if "://" in place:
        url = create_engine(place).url  # the driver is loaded, and nothing connected
        if url.get_backend_name() == "sqlite" and url.database:
            Path(url.database).parent.stat()
    elif Path(place).is_file():
        open_storage(place)  # reads it
    elif Path(place).exists():
        raise IsADirectoryError(f"{place} is no file")
    else:
        look(Path(place).parent)
