"""The crossover as people read it, from records: speed of each way beside dense, who wins, and what sd gains by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.crossover.ways import DENSE, WAYS
from bench.record import Record, Status
from bench.tables import in_noise, machine_notes, ratio, raw_samples

__all__ = ["print_crossover", "winner_word"]

_FACTORS = {
    "total": "regular / sd",
    "padding": "= padding",
    "rest": "x the rest",
    "sparsity": "all entries / k",
}


def print_crossover(console: Console, title: str, records: Sequence[Record]) -> None:
    """Two tables and their notes on ``console``."""
    for table in (_speeds(title, records), _benefits(records)):
        # Lines too long for a narrow terminal run on; a figure is never cut.
        needed = console.measure(table, options=console.options.update(max_width=1000)).maximum
        console.width = max(console.width, needed)
        console.print(table)
    for note in _notes(records):
        console.print(Text(note), soft_wrap=True)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=Text(title), title_justify="left", pad_edge=False)
    for at, name in enumerate(("layer", "active", "kept", *columns)):
        table.add_column(name, justify="right" if at else "left", no_wrap=True)
    return table


def _speeds(title: str, records: Sequence[Record]) -> Table:
    table = _table(title, "dense, ms", *(f"{way} vs dense" for way in WAYS[1:]), "finds", "wins")
    for record in records:
        rows = {row["way"]: row for row in record.result.get("ways", ())}
        if not rows:
            table.add_row(*map(Text, (*_where(record), str(record.status))))
            continue
        dense = rows[DENSE]
        first = dense["status"] if dense["step_ms"] is None else f"{dense['step_ms']:.1f}"
        others = [_speed(rows[way]) for way in WAYS[1:]]
        seen = record.result["aa"] and dense["step_ms"] and record.result["aa"]["detectable_ratio"]
        finds = f"{seen:.2f}x" if seen else "n/a"
        table.add_row(*map(Text, (*_where(record), first, *others, finds, winner_word(record.result["winner"]))))
    return table


def _where(record: Record) -> list[str]:
    config = record.config
    share = config["kept"] / (config["out"] * config["inner"])
    return [f"{config['out']}x{config['inner']}", f"{config['active']:.0%}", f"{100 * share:.3g}%"]


def _speed(row: Mapping[str, Any]) -> str:
    return row["status"] if row["step_ms"] is None else ratio(row["ratio_to_dense"], row["verdict"])


def winner_word(winner: Mapping[str, Any] | None) -> str:
    """``planned``; ``~ planned, sd`` where the two fastest are not told apart; n/a where nothing was measured."""
    if winner is None:
        return "n/a"
    return winner["way"] if winner["clear"] or winner["over"] is None else f"~ {winner['way']}, {winner['over']}"


def _benefits(records: Sequence[Record]) -> Table:
    table = _table("What sd gains over regular (factors of time, above 1 a gain)", *_FACTORS.values(), "energy kept")
    for record in records:
        benefit = record.result.get("sd_benefit", dict.fromkeys(_FACTORS))
        energy = record.result.get("energy_share")
        held = "n/a" if energy is None else f"{energy:.3f}"
        factors = (_factor(benefit[name], record.result.get("aa")) for name in _FACTORS)
        table.add_row(*map(Text, (*_where(record), *factors, held)))
    return table


def _factor(interval: Mapping[str, Any] | None, aa: Mapping[str, Any] | None) -> str:
    return ratio(interval, None if interval is None else in_noise(interval, aa))


def _notes(records: Sequence[Record]) -> list[str]:
    rounds = {record.config["rounds"] for record in records}
    notes = [
        f"vs dense: speed of a step (forward, backward, optimizer) of one layer over that of a dense one; [low, high]: "
        f"95% CI over {', '.join(map(str, sorted(rounds)))} paired rounds; ~ inside the noise of dense against itself.",
        "finds: the smallest true ratio to dense that a cell tells from 1 four times in five, by dense against itself.",
        "wins: the fastest, dense included; with ~ where it is not told from the next. compact's support is fixed.",
        "padding: sd given no zero row, over sd. the rest: regular over sd given no zero row. regular / sd is their "
        "product.",
        "all entries / k: sd that keeps every entry (dense Adam) over sd that keeps k: what sparsity saves it.",
        "Layers, inputs and gradients are made up (spectra i^-decay, random bases): times are measured, energies not "
        "those of a model.",
    ]
    for record in records:
        where = ", ".join(_where(record))
        if record.status is not Status.OK:
            notes.append(f"{where}: {record.status}: {record.reason}")
        seen = machine_notes(record.result) + raw_samples(record.result.get("ways", ()), of="way")
        notes += [f"{where}: {note}" for note in seen]
    return notes
