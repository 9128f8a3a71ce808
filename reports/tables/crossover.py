"""Which way of training one layer is the fastest, and what the sparse product gains by, as tables."""

from __future__ import annotations

from bench.crossover.ways import DENSE, WAYS
from bench.record import Status
from bench.stats import verdict
from bench.tables import raw_samples
from reports.behind import behind
from reports.document import Cell, CellStatus, Samples, Table
from reports.reading.crossover import BENEFITS, CrossoverCell, CrossoverGrid
from reports.reading.places import describe_machine
from reports.tables.cells import absent, amount, failure, label, number_column, ratio_cell, text_column

__all__ = ["benefit_table", "crossover_table", "grid_named"]

_FACTORS = {"total": "regular / sd", "padding": "= padding", "rest": "x the rest", "sparsity": "all entries / k"}
_PLACE = (
    text_column("layer", "out x in"),
    number_column("active", "%", "rows of dL/dy that are not zero"),
    number_column("kept", "%", "entries of dW~"),
)


def grid_named(grid: CrossoverGrid) -> str:
    """Machine and request in a few words."""
    asked = grid.record.config
    return f"{describe_machine(grid.record)}; {asked['tokens']:,.0f} tokens, {asked['dtype']}"


def crossover_table(grid: CrossoverGrid, id: str) -> Table:
    """The speed of every way over a dense layer's, a row a cell."""
    rounds = sorted({cell.record.config["rounds"] for cell in grid.cells})
    return Table(
        id=id,
        title=f"Crossover: one layer's train step, {grid_named(grid)}",
        columns=(
            *_PLACE,
            number_column(DENSE, "ms"),
            *(number_column(way, f"x {DENSE}") for way in WAYS[1:]),
            text_column("fastest", "dense included; ~: not told from the next"),
        ),
        rows=tuple(
            (*_place(cell), _dense(cell), *(_speed(cell, way) for way in WAYS[1:]), _fastest(cell))
            for cell in grid.cells
        ),
        notes=(
            f"Speed: 95% CI over {', '.join(f'{each:g}' for each in rounds)} paired rounds; ~: inside the noise of "
            f"dense against itself. compact's support is fixed.",
            "Layers, inputs and gradients are made up (falling spectra, random bases): times are measured, energies "
            "are not those of a model.",
            *(told for cell in grid.cells if cell.record.status is not Status.OK for told in _failed(cell)),
        ),
    )


def benefit_table(grid: CrossoverGrid, id: str) -> Table:
    """What sd gains over regular, taken apart: factors of time, above 1 a gain."""
    return Table(
        id=id,
        title=f"What sd gains over regular, {grid_named(grid)}",
        columns=(
            *_PLACE,
            *(number_column(name, "x") for name in _FACTORS.values()),
            number_column("energy kept", note="share of the squared norm of dW~"),
        ),
        rows=tuple(
            (
                *_place(cell),
                *(_gain(cell, name) for name in BENEFITS),
                amount(cell.energy_share, ".3f", detail=behind([cell.source])),
            )
            for cell in grid.cells
        ),
        notes=(
            "padding: sd given no zero row, over sd. the rest: regular over sd given no zero row. regular / sd is "
            "their product. all entries / k: sd that keeps every entry over sd that keeps k. ~: inside the noise of "
            "dense against itself.",
        ),
    )


def _place(cell: CrossoverCell) -> tuple[Cell, ...]:
    return (
        label(f"{cell.out} x {cell.inner}"),
        amount(100 * cell.active, ".3g"),
        amount(100 * cell.kept_share, ".3g"),
    )


def _dense(cell: CrossoverCell) -> Cell:
    dense = cell.ways[DENSE]
    if dense.step_ms is None:
        return failure(dense.status, dense.reason)
    samples = Samples(name="dense: time of a step, by round", unit="ms", values=dense.samples_ms)
    return amount(dense.step_ms, ".2f", detail=behind([cell.source], [samples], "mean over rounds"))


def _speed(cell: CrossoverCell, way: str) -> Cell:
    own = cell.ways[way]
    if own.step_ms is None:
        return failure(own.status, own.reason)
    samples = [
        Samples(name=f"{name}: time of a step, by round", unit="ms", values=cell.ways[name].samples_ms)
        for name in (way, DENSE)
    ]
    return ratio_cell(own.ratio, own.verdict, behind([cell.source], samples, "geometric mean of ratios"))


def _gain(cell: CrossoverCell, name: str) -> Cell:
    ratio = cell.benefits[name]
    told = None if ratio is None else verdict(ratio, cell.noise)
    return ratio_cell(ratio, told, behind([cell.source]))


def _fastest(cell: CrossoverCell) -> Cell:
    if cell.winner is None:
        return absent("nothing was measured")
    if cell.clear or cell.over is None:
        return label(cell.winner)
    return Cell(text=f"{cell.winner}, {cell.over}", sort=cell.winner, status=CellStatus.NOISE)


def _failed(cell: CrossoverCell) -> list[str]:
    """Why the cell is not ok; of what is invalid, what was read."""
    where = f"{cell.out} x {cell.inner}, {100 * cell.active:.3g}% active, {100 * cell.kept_share:.3g}% kept"
    read = raw_samples(({**vars(own), "way": way} for way, own in cell.ways.items()), of="way")
    return [f"{where}: {told}" for told in (f"{cell.record.status}: {cell.record.reason}", *read)]
