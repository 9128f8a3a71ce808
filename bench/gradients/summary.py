"""Means over blocks and readings: the figures that a reader, or a claim of the paper, asks of a record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

__all__ = ["FIGURES", "STRIPE_FIGURES", "mean", "summary"]

FIGURES = (
    *("energy_share", "fixed_energy_share", "fixed_in_core_energy_share", "significant_90_share"),
    *("significant_99_share", "flatness", "nonzero_share", "zero_row_share", "zero_column_share"),
    *("jaccard_step_before", "jaccard_reading_before", "jaccard_calibration", "overlap_calibration"),
    *("rows_touched", "columns_touched", "cover_rows", "cover_columns", "least_cover"),
)
STRIPE_FIGURES = (
    *("zero_row_share", "nonzero_share", "zero_column_share", "rotated_nonzero_share"),
    *("rotated_zero_column_share", "padding_share", "zero_rows_that_are_padding_share", "padding_that_is_zero_share"),
)


def summary(rows: Sequence[Mapping[str, Any]], dy_rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """``gradients``: a row a role and space; ``stripes``: one a role. Each figure as ``_spread`` has it."""
    return {
        "gradients": [
            {"role": role, "space": space, **_figures(own, FIGURES)}
            for (role, space), own in _grouped(rows, "role", "space").items()
        ],
        "stripes": [
            {"role": role, **_figures(own, STRIPE_FIGURES)} for (role,), own in _grouped(dy_rows, "role").items()
        ],
    }


def mean(values: Iterable[float | None]) -> float | None:
    """Of those that were measured; None where none was."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _grouped(rows: Iterable[Mapping[str, Any]], *names: str) -> dict[tuple[Any, ...], list[Mapping[str, Any]]]:
    """Rows by the values of these fields, in the order in which they first come."""
    found: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in names), []).append(row)
    return found


def _figures(rows: Sequence[Mapping[str, Any]], names: Iterable[str]) -> dict[str, Any]:
    blocks = list(_grouped(rows, "block").values())
    told = {name: _spread(rows, blocks, name) for name in names}
    return {"blocks": len(blocks), "readings": len(_grouped(rows, "step")), **told}


def _spread(
    rows: Sequence[Mapping[str, Any]], blocks: Sequence[Sequence[Mapping[str, Any]]], name: str
) -> dict[str, float | None]:
    """The mean over blocks and readings, and the least and most of the blocks' own means over the readings."""
    means = [one for one in (mean(row[name] for row in block) for block in blocks) if one is not None]
    return {
        "mean": mean(row[name] for row in rows),
        "least_block": min(means, default=None),
        "most_block": max(means, default=None),
    }
