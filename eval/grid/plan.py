"""The grid's entries, and its cells as far as they can be named."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bench.errors import BadRequest
from bench.record import Record
from eval.campaign import Entry
from eval.cell import Cell
from eval.desk import Desk
from eval.words import study_of

__all__ = ["Plan"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """Models x kept x tasks x methods; seeds and rates are each entry's own."""

    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, args: argparse.Namespace, device: str | None) -> Plan:
        """What the words ask. `device`: where cells run, of this machine's or not; None: as --device says."""
        entries = []
        for model in dict.fromkeys(args.model):
            for kept in dict.fromkeys(args.kept):
                here = {"model": model, "kept": kept, "device": "cpu" if device else args.device}
                study = study_of(argparse.Namespace(**{**vars(args), **here}))
                study = replace(study, device=device or study.device)
                entries += [
                    Entry(study=study, task=task, method=name) for task in study.tasks for name in study.methods
                ]
        return cls(entries=tuple(entries))

    def check(self) -> None:
        """BadRequest where a model cannot be read, or lacks what is asked of it, before anything long is run."""
        for study in {id(entry.study): entry.study for entry in self.entries}.values():
            study.check_weights()

    def named(self, entry: Entry) -> str:
        """What comes before a cell's own name: the model and the kept entries, where there are several."""
        models = {one.study.model for one in self.entries}
        shares = {one.study.kept for one in self.entries}
        told = [entry.study.model] * (len(models) > 1) + [f"kept {entry.study.kept}"] * (len(shares) > 1)
        return ", ".join(told) + ": " if told else ""

    def cells(self, desk: Desk) -> dict[str, tuple[str, Cell]]:
        """Key -> name and cell: every trial, and the reported runs at the best of those there are; none of a search."""
        found: dict[str, tuple[str, Cell]] = {}
        for entry in self.entries:
            trials = entry.trials()
            # Also where all is to be done afresh: which rate was best is what the listing went by.
            kept = {cell: desk.store.find(cell.kind, desk.key(cell)) for cell in trials}
            tried = [(cell, record) for cell, record in kept.items() if record is not None]
            for cell in (*trials, *(entry.runs(tried) if entry.study.tune is None else ())):
                found[desk.key(cell)] = (self.named(entry) + cell.name, cell)
        return found

    def chosen(self, desk: Desk, keys: Sequence[str]) -> dict[str, tuple[str, Cell]]:
        """Key -> name and cell of those whose keys begin with one of `keys`; BadRequest where none does."""
        cells = self.cells(desk)
        for start in keys:
            if not any(key.startswith(start) for key in cells):
                raise BadRequest(f"--only {start}: no cell of this grid has such a key; list them with --dry-run")
        return {key: told for key, told in cells.items() if key.startswith(tuple(keys))}

    def only(self, desk: Desk, keys: Sequence[str], done: Callable[[Cell], None]) -> dict[str, tuple[str, Record]]:
        """Run these cells alone; key -> name and record."""
        chosen = self.chosen(desk, keys)
        records = desk.do([cell for _, cell in chosen.values()], done)
        return {key: (name, records[cell]) for key, (name, cell) in chosen.items()}
