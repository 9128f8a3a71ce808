"""Seeing a study through: the trials that choose each entry's rate, then its reported runs; all of them found again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.cli import progress_bar
from bench.effort import about, seconds
from bench.record import Record, Status
from eval.cell import Cell
from eval.desk import Desk, state_of
from eval.ending import came_to
from eval.study import TRIAL_SEED, Study, choose
from eval.tuning import RATES, Search
from sparsegrad.roles import is_linear, weight_of

__all__ = ["Entry", "Finished", "lost_trials", "outlook", "records_of", "see_through", "tell_trial"]

# Evaluations, checkpoints and choosing a tokenizer come on top of the updates.
_BESIDE_UPDATES = 1.3
# Of GLUE's texts, where a batch is padded to its own longest.
_TOKENS_A_TEXT = 30


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """One line of a comparison: a method, on a task, as its study says."""

    study: Study
    task: str
    method: str

    def trials(self) -> list[Cell]:
        """The runs that choose its rate; none where there is nothing to choose, or Optuna chooses."""
        return self.study.trials(self.task, self.method)

    def asked(self) -> Cell:
        """What a search is to choose rate and batch for."""
        return self.study.cell(self.task, self.method, seed=TRIAL_SEED, lr=RATES[0], scored_on="held out")

    def runs(self, tried: Sequence[tuple[Cell, Record]]) -> list[Cell]:
        """The reported runs, at what was best of the trials."""
        return self.study.runs(self.task, self.method, choose(tried))


@dataclass(frozen=True, kw_only=True, eq=False)
class Finished:
    """An entry with all its records."""

    entry: Entry
    trials: list[tuple[Cell, Record]]
    runs: list[Record]
    """One a seed."""


def see_through(entries: Sequence[Entry], desk: Desk, storage: str, *, quiet: bool) -> list[Finished]:
    """Every entry's records, made or found. The entries' studies agree in trials and seeds."""
    tune = entries[0].study.tune
    count = sum((tune or len(entry.trials())) + entry.study.seeds for entry in entries)
    with progress_bar(quiet=quiet) as progress:
        bar = progress.add_task("fine-tuning", total=count)

        def done(cell: Cell) -> None:
            progress.update(bar, description=cell.name)
            progress.advance(bar)

        tried = _searched(entries, desk, storage, tune, done) if tune is not None else _tried(entries, desk, done)
        wanted = [entry.runs(trials) for entry, trials in zip(entries, tried, strict=True)]
        records = desk.do([cell for cells in wanted for cell in cells], done)
    return [
        Finished(entry=entry, trials=trials, runs=[records[cell] for cell in cells])
        for entry, trials, cells in zip(entries, tried, wanted, strict=True)
    ]


Trials = list[tuple[Cell, Record]]


def _tried(entries: Sequence[Entry], desk: Desk, done: Callable[[Cell], None]) -> list[Trials]:
    wanted = [entry.trials() for entry in entries]
    records = desk.do([cell for cells in wanted for cell in cells], done)
    return [[(cell, records[cell]) for cell in cells] for cells in wanted]


def _searched(
    entries: Sequence[Entry], desk: Desk, storage: str, trials: int, done: Callable[[Cell], None]
) -> list[Trials]:
    cells = [entry.asked() for entry in entries]
    found = Search(desk=desk, storage=storage, trials=trials).run(list(dict.fromkeys(cells)), done)
    return [found[cell] for cell in cells]


def records_of(finished: Sequence[Finished]) -> list[Record]:
    """All records behind them; one that two entries share counts once."""
    records = [record for one in finished for record in (*(r for _, r in one.trials), *one.runs)]
    return list({id(record): record for record in records}.values())


def lost_trials(finished: Sequence[Finished]) -> list[str]:
    """A line a trial that did not come to its end, and why."""
    return [
        came_to(cell.name, record.status, record.reason)
        for one in finished
        for cell, record in one.trials
        if record.status is not Status.OK
    ]


def tell_trial(cell: Cell, record: Record) -> dict[str, Any]:
    """One trial, JSON types: what was tried, and how it scored on the held-out slice."""
    good = record.status is Status.OK
    return {
        "task": cell.subject.task,
        "method": cell.method,
        "kept": cell.kept,
        "lr": cell.lr,
        "batch_size": cell.protocol.batch_size,
        "status": str(record.status),
        "pruned_at": record.result["pruned_at"] if good else None,
        "score": record.result["splits"]["held out"]["headline"] if good else None,
        "record": record.key,
    }


def outlook(entries: Sequence[Entry], desk: Desk, named: Callable[[Entry], str] = lambda _: "") -> dict[str, str]:
    """What is to be run and what is done: every run that can be named now; rates that trials choose are not.

    The last line says roughly how long the rest takes here, from shapes alone. ``named``: before a run's own name.
    """
    told: dict[str, str] = {}
    flops, left = 0.0, 0
    for entry in entries:
        study, trials, before = entry.study, entry.trials(), named(entry)
        chosen = bool(trials) or study.tune is not None
        known = {cell: desk.known(cell) for cell in trials or ([] if chosen else entry.runs([]))}
        told |= {before + cell.name: state_of(record) for cell, record in known.items()}
        if study.tune is not None:
            told[f"{before}{entry.task} {entry.method}, search"] = f"{study.tune} trials"
        if chosen:
            told[f"{before}{entry.task} {entry.method}, {study.seeds} seeds at what is best"] = "to be chosen"
        runs = sum(record is None for record in known.values()) + chosen * study.seeds + (study.tune or 0)
        flops, left = flops + runs * _flops(entry.asked()), left + runs
    rest = about(seconds(flops, processes=left, device=entries[0].study.device)) if left else "no time"
    return {**told, f"{left} runs of fine-tuning": rest}


def _flops(cell: Cell) -> float:
    """Operations of a run, roughly: six for each weight of a product and token."""
    protocol = cell.protocol
    outline = cell.subject.source().outline()
    weights = sum(weight_of(module).numel() for module in outline.modules() if is_linear(module))
    tokens = protocol.max_length if protocol.padding == "max" else min(_TOKENS_A_TEXT, protocol.max_length)
    steps = protocol.steps or protocol.total_steps(len(cell.subject.splits().train))
    return _BESIDE_UPDATES * 6.0 * weights * tokens * steps * protocol.batch_size
