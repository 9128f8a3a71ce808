"""What few entries of a gradient hold, in which basis and for how long, as a table; and what the stripes are."""

from __future__ import annotations

from reports.behind import behind, noted
from reports.document import Cell, Detail, Table
from reports.drawn import or_a_line
from reports.reading.fields import Fields
from reports.reading.gradients import GradientRun
from reports.reading.settings import setting_of
from reports.tables.cells import amount, label, number_column, text_column

__all__ = ["gradient_tables"]

_FIGURES = {
    "energy_share": ("held by the step's largest", "share of squared norm"),
    "fixed_energy_share": ("by entries fixed at calibration", "share of squared norm"),
    "fixed_in_core_energy_share": ("by those within the core", "share of squared norm"),
    "significant_90_share": ("entries that hold 90%", "share"),
    "significant_99_share": ("entries that hold 99%", "share"),
    "flatness": ("flatness", None),
    "jaccard_step_before": ("overlap with the step before", "Jaccard index"),
    "jaccard_calibration": ("overlap with calibration", "Jaccard index"),
    "cover_rows": ("rows of the cover", None),
    "cover_columns": ("columns of the cover", None),
}
_STRIPES = {
    "zero_row_share": "rows exactly zero",
    "zero_rows_that_are_padding_share": "of these padding",
    "padding_that_is_zero_share": "of the padding zero",
    "zero_column_share": "columns zero",
    "rotated_zero_column_share": "columns zero after V",
    "nonzero_share": "entries not zero",
}


@or_a_line
def gradient_tables(run: GradientRun, id: str) -> list[Table]:
    """Means over blocks and readings, of gradients and of stripes; none for a record without means."""
    gradients, stripes = _means(run, "gradients"), _means(run, "stripes")
    made = [_gradient_table(run, id, gradients)] if gradients else []
    return made + ([_stripe_table(run, f"{id}-stripes", stripes)] if stripes else [])


def _gradient_table(run: GradientRun, id: str, rows: list[Fields]) -> Table:
    """A row a role and space."""
    own = behind([run.source], note="mean over blocks and readings; [least, most block]")
    spaces = Fields.of(run.record.result).inside("spaces")
    kept = run.record.config.get("kept")
    return Table(
        id=id,
        title=f"Gradients through training: {setting_of(run.record)}, kept {kept}",
        columns=(
            text_column("role"),
            text_column("space"),
            *(number_column(name, unit, "mean; [least, most block]") for name, unit in _FIGURES.values()),
        ),
        rows=tuple(
            (label(row.text("role")), label(row.text("space")), *(_mean(row, name, own) for name in _FIGURES))
            for row in rows
        ),
        notes=(
            f"Spaces: {'; '.join(f'{name}: {spaces.text(name)}' for name in spaces.told)}.",
            "Flatness: (sum g^2)^2 / (N sum g^4), 1 where all entries are equal. Cover: the rows and columns that hold "
            "the step's entries, the cheapest to write back.",
            *noted([run.source]),
        ),
    )


def _stripe_table(run: GradientRun, id: str, rows: list[Fields]) -> Table:
    """The zero rows of dL/dY, a row a role."""
    own = behind([run.source], note="mean over blocks and readings; [least, most block]")
    return Table(
        id=id,
        title=f"Stripes of dL/dY: {setting_of(run.record)}",
        columns=(text_column("role"), *(number_column(name, "share") for name in _STRIPES.values())),
        rows=tuple((label(row.text("role")), *(_mean(row, name, own) for name in _STRIPES)) for row in rows),
        notes=("A row is a token, a column an output of the linear. Zero: exactly zero.", *noted([run.source])),
    )


def _means(run: GradientRun, name: str) -> list[Fields]:
    told = Fields.of(run.record.result).inside_or_none("summary")
    return [] if told is None else told.each(name)


def _mean(row: Fields, name: str, detail: Detail) -> Cell:
    told = row.inside(name)
    least, most = told.number_or_none("least_block"), told.number_or_none("most_block")
    ends = None if least is None or most is None else f"[{least:.3g}, {most:.3g}]"
    return amount(told.number_or_none("mean"), ".3g", interval=ends, detail=detail)
