"""Pictures of matrices and grids: gradients before and after rotation, the stripes of dL/dY, who wins where."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.crossover.figure import heat_map
from bench.crossover.ways import DENSE
from bench.gradients.maps import heat_maps, stripe_maps
from bench.gradients.spaces import ORIGINAL, ROTATED
from bench.plotting import house_style
from reports.document import Cell, CellStatus, Figure, Table
from reports.drawn import or_a_line, with_drawable_names
from reports.figures.marks import drawable, finished
from reports.reading.crossover import CrossoverCell, CrossoverGrid
from reports.reading.fields import Fields
from reports.reading.gradients import GradientRun
from reports.reading.settings import model_called
from reports.tables.cells import amount, label, number_column, text_column
from reports.tables.crossover import grid_named

__all__ = ["crossover_maps", "gradient_maps"]

Picture = Mapping[str, Any]


@or_a_line
def gradient_maps(run: GradientRun, id: str) -> list[Figure]:
    """|dL/dW| beside |dL/dW~|, and the stripes of dL/dY, of the last reading; none where the record has no picture."""
    result = with_drawable_names(run.record.result)
    named = model_called(run.record)
    made = []
    if pictures := _pictures(result, "pictures"):
        title = f"Gradients before and after rotation, {named}"
        what = {ORIGINAL: "|dL/dW|", ROTATED: "|dL/dW~|"}
        made.append(_picture(f"{id}-weights", title, heat_maps, result, named, pictures, "dw", what))
    if pictures := _pictures(result, "stripe_pictures"):
        title = f"Stripes of dL/dY, before and after V, {named}"
        what = {ORIGINAL: "|dL/dY|", ROTATED: "|dL/dY V^T|"}
        made.append(_picture(f"{id}-stripes", title, stripe_maps, result, named, pictures, "dy", what))
    return made


def _pictures(result: Picture, name: str) -> list[Picture]:
    return [picture.told for picture in Fields.of(result).each(name)]


def _picture(
    id: str,
    title: str,
    draw: Callable[[Any, Picture, str], Any],
    result: Picture,
    named: str,
    pictures: Sequence[Picture],
    kind: str,
    what: Mapping[str, str],
) -> Figure:
    rows = [
        (picture, name, [value for line in picture[f"{kind}_{space}"] for value in line])
        for picture in pictures
        for space, name in what.items()
    ]
    zeros = "; ".join(
        f"block {picture['block']}, {picture['role']}, {name}: {_zero_share(values):.0%} of the patches exactly zero"
        for picture, name, values in rows
    )
    with house_style() as style:
        drawn = draw(style, result, drawable(named))
        return finished(
            drawn,
            id=id,
            title=title,
            alt=f"Heat maps of magnitudes, five decades below the largest, exact zeros white. {zeros}.",
            columns=(
                number_column("block"),
                text_column("role"),
                text_column("matrix"),
                number_column("largest"),
                number_column("patches", note="each told by its largest magnitude"),
                number_column("exactly zero", "share of patches"),
            ),
            rows=[
                (
                    amount(picture["block"], "g"),
                    label(str(picture["role"])),
                    label(name),
                    amount(max(values), ".3g"),
                    amount(len(values), ",.0f"),
                    amount(_zero_share(values), ".3f"),
                )
                for picture, name, values in rows
            ],
            notes=("Rotated: shared bases of normalised gradients. The record holds every patch.",),
            wide=True,
        )


def _zero_share(values: Sequence[float]) -> float:
    return sum(value == 0 for value in values) / len(values)


@or_a_line
def crossover_maps(grid: CrossoverGrid, id: str) -> list[Figure]:
    """Who wins at which share of active rows and kept entries, a map a layer shape."""
    shapes = dict.fromkeys((cell.out, cell.inner) for cell in grid.cells)
    return [
        _map(f"{id}-{number}", grid, [cell for cell in grid.cells if (cell.out, cell.inner) == shape])
        for number, shape in enumerate(shapes, 1)
    ]


def _map(id: str, grid: CrossoverGrid, cells: Sequence[CrossoverCell]) -> Figure:
    records = [replace(cell.record, config=with_drawable_names(cell.record.config)) for cell in cells]
    title = f"Fastest way to train one layer of {cells[0].out} x {cells[0].inner}, {grid_named(grid)}"
    told = "; ".join(
        f"{100 * cell.active:.3g}% active, {100 * cell.kept_share:.3g}% kept: {_winner(cell).shown}" for cell in cells
    )
    columns = (
        number_column("active", "%"),
        number_column("kept", "%"),
        text_column("fastest"),
        number_column("speed", f"x {DENSE}"),
    )
    rows = tuple(
        (amount(100 * cell.active, ".3g"), amount(100 * cell.kept_share, ".3g"), _winner(cell), _speed(cell))
        for cell in cells
    )
    return Figure(
        id=id,
        title=title,
        svg=heat_map(records)["svg"],
        alt=f"A grid of active rows across and kept entries upward, each square the fastest way. {told}.",
        data=Table(id=f"{id}-data", title=f"{title}: the data", columns=columns, rows=rows),
    )


def _winner(cell: CrossoverCell) -> Cell:
    if cell.winner is None:
        return Cell(text="", status=CellStatus.NOT_MEASURED)
    return Cell(text=cell.winner, sort=cell.winner, status=CellStatus.OK if cell.clear else CellStatus.NOISE)


def _speed(cell: CrossoverCell) -> Cell:
    ratio = None if cell.winner is None else cell.ways[cell.winner].ratio
    return amount(1.0 if cell.winner == DENSE else None if ratio is None else ratio.mean, ".2f")
