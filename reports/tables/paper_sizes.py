"""Tables 1 and 13 to 15: parameters printed and counted, and the settings as printed."""

from __future__ import annotations

from bench.presets import PRESETS
from eval.protocol import PAPER_SETTINGS
from reports.document import Cell, Table
from reports.paper.published import MODELS, OTHER_SETTINGS, PARAMETERS, TASKS
from reports.paper.sizes import count_blocks
from reports.tables.cells import amount, label, number_column, printed_cell, text_column

__all__ = ["parameter_table", "settings_table"]


def parameter_table() -> Table:
    """Table 1: million parameters, printed and counted."""
    names = tuple(dict.fromkeys(model for _, model in PARAMETERS))
    counts = {name: count_blocks(PRESETS[name]) for name in names}
    rows = []
    for block in dict.fromkeys(block for block, _ in PARAMETERS):
        cells = [label(block)]
        for name in names:
            cells.append(printed_cell(PARAMETERS[block, name], ",.0f"))
            share = f"{counts[name][block] / counts[name]['full']:.0%}"
            cells.append(amount(counts[name][block] / 1e6, ",.1f", interval=f"({share})"))
        rows.append(tuple(cells))
    heads = [column for name in names for column in (number_column(f"{name}, printed", "M"),
             number_column(f"{name}, counted", "M"))]  # fmt: skip
    return Table(
        id="table-1",
        title="Table 1: parameters by block",
        columns=(text_column("block"), *heads),
        rows=tuple(rows),
        notes=("Counted from the published shapes, bare bodies; LLaMA's embeddings with its output matrix.",),
    )


def settings_table() -> Table:
    """Tables 13 to 15: batch size and learning rate, with the other scan's reading."""
    rows = []
    for task in TASKS:
        cells = [label(task)]
        for model in MODELS:
            batch, rate = PAPER_SETTINGS[model, task]
            other = OTHER_SETTINGS.get((model, task))
            said = "" if other is None else f" [{other[0]}, {other[1]:.2e}]"
            reason = None if other is None else "scans disagree"
            cells.append(Cell(text=f"{batch}, {rate:.2e}{said}", sort=rate, reason=reason))
        rows.append(tuple(cells))
    return Table(
        id="table-13",
        title="Tables 13 to 15: batch size and learning rate, as printed",
        columns=(text_column("task"), *(text_column(model) for model in MODELS)),
        rows=tuple(rows),
        notes=("In brackets the other scan's reading. eval.glue --protocol paper takes the first.",),
    )
