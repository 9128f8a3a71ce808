"""The rows of a sparsity table: each method at each number of kept entries, with full and frozen beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.cells import Desk
from bench.entrants import Entry
from bench.errors import BadRequest
from bench.record import Record, Status
from bench.request import ALWAYS, check_kept, parse_kept
from bench.sparsity.energy import measure_energy
from sparsegrad.methods import METHODS

__all__ = ["Level", "calibrations_of", "energies_of", "levels", "with_energy"]

# What the energy of kept entries does not depend on: who else runs, the rate, what trains beside the layers.
_NOT_OF_ENERGY = ("methods", "lora_rank", "lr", "trainable", "dropout")


@dataclass(frozen=True, kw_only=True)
class Level(Entry):
    """An entry of the comparison; ``kept``: the word it was asked for in, None where the method keeps no entries."""

    kept: str | None = None


def levels(desk: Desk, words: Sequence[str]) -> list[Level]:
    """Rows in the registry's order; BadRequest for a method that keeps nothing, or a sparsity that does not fit a
    layer."""
    idle = [name for name in desk.request.methods if METHODS[name].basis is None]
    if len(idle) < len(desk.request.methods):
        idle = [name for name in idle if name not in ALWAYS]  # rows of every table, which may be named beside others
    if idle:
        keeping = " ".join(method.name for method in METHODS.values() if method.basis is not None)
        raise BadRequest(f"--methods {idle[0]} keeps no entries of a gradient; give any of {keeping}")
    outline, rows = desk.workload.outline(), []
    for method in desk.request.chosen():
        if method.basis is None:
            rows.append(Level(name=method.name, method=method, desk=desk))
            continue
        for word in _distinct(words):
            request = replace(desk.request, kept=parse_kept(word, "--kept-list"))
            check_kept(request, outline, desk.workload, f"--kept-list {word}")
            rows.append(
                Level(name=f"{method.name} {word}", method=method, desk=replace(desk, request=request), kept=word)
            )
    return rows


def _distinct(words: Sequence[str]) -> list[str]:
    """Each sparsity once, in the first of its words: 1% is 0.01, but 1 (an entry) is not 1.0 (every entry)."""
    first: dict[tuple[type, int | float], str] = {}
    for word in words:
        kept = parse_kept(word, "--kept-list")
        first.setdefault((type(kept), kept), word)
    return list(first.values())


def calibrations_of(rows: Sequence[Level], told: Callable[[str], None]) -> dict[str, Record]:
    """Row -> the record of its calibration; a dynamic support's bases serve every sparsity, and are made once."""
    made: dict[Path, Record] = {}
    records = {}
    for row in rows:
        path = row.desk.bases_file(row.method)
        if path is None:
            continue
        if path not in made:
            made[path] = row.desk.calibrations([row.method], told)[row.method.name]
        records[row.name] = made[path]
    return records


def energy_config(row: Level) -> dict[str, Any]:
    """What the energy of a row's kept entries depends on."""
    return {"method": row.method.name, **row.desk.request.config(*_NOT_OF_ENERGY)}


def energies_of(
    rows: Sequence[Level], calibrations: Mapping[str, Record], told: Callable[[str], None]
) -> dict[str, Record]:
    """Row -> the record of ``energy.measure_energy``, from a fresh process each, where the method keeps entries."""
    records = {}
    for row in rows:
        if row.kept is None or (row.name in calibrations and calibrations[row.name].status is not Status.OK):
            continue  # no bases, and the row says so
        desk = row.desk
        bases = desk.bases_file(row.method)
        records[row.name] = desk.cell(
            "energy", energy_config(row), measure_energy, desk.request, row.method.name, bases
        )
        told(f"energy kept: {row.name}")
    return records


def with_energy(
    told: dict[str, Any], rows: Sequence[Level], peaks: Mapping[str, Record], energies: Mapping[str, Record]
) -> dict[str, Any]:
    """The result of the rounds (``rows.result``) with each row's sparsity, energy and optimizer state, JSON types."""
    by_name = {row.name: row for row in rows}
    joined = []
    for measured in told["rows"]:
        name, level = measured["method"], by_name[measured["method"]]
        energy = energies.get(name)
        status, reason = measured["status"], measured["reason"]
        if energy is not None and energy.status is not Status.OK and status == Status.OK:
            status, reason = str(energy.status), f"energy kept: {energy.reason}"
        good = energy is not None and energy.status is Status.OK
        joined.append(
            {
                **measured,
                "status": status,
                "reason": reason,
                "of_method": level.method.name,
                "kept": level.kept,
                "energy": energy.result if energy is not None and good else None,
                "state_bytes": _state_bytes(peaks.get(name)),
            }
        )
    return {**told, "rows": joined}


def _state_bytes(peak: Record | None) -> int | None:
    """The optimizer's state, alive at the peak as at any moment after the first step."""
    if peak is None or peak.status is not Status.OK:
        return None
    told: int | None = peak.result.get("at_peak", {}).get("by_category_bytes", {}).get("optimizer_state")
    return told
