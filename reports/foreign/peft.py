"""PEFT's method comparison: one JSON file an experiment, of its folders method_comparison/*/results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BadRequest
from reports.document import Cell, CellStatus, Table
from reports.reading.fields import Fields, Unreadable
from reports.tables.cells import MIB, amount, label, number_column, text_column

__all__ = ["ExperimentRow", "experiment_table", "read_experiment"]


@dataclass(frozen=True, kw_only=True)
class ExperimentRow:
    """One experiment as its file tells it. None is not told."""

    file: str
    name: str
    method: str
    model: str
    status: str
    test_accuracy: float | None
    train_s: float | None
    peak_bytes: float | None
    """The accelerator's highest reserved memory."""
    trainable_parameters: int | None
    adapter_bytes: int | None
    accelerator: str
    peft_version: str


def read_experiment(whole: dict[str, Any], path: Path) -> ExperimentRow:
    """The file's one experiment; BadRequest where a part is missing or of another type."""
    try:
        return _experiment(Fields.of(whole, path.name), path.name)
    except Unreadable as error:
        raise BadRequest(f"{error}; a result of PEFT's method comparison is needed") from error


def _experiment(whole: Fields, file: str) -> ExperimentRow:
    run, train = whole.inside("run_info"), whole.inside("train_info")
    adapter = run.inside_or_none("peft_config")
    meta = whole.inside_or_none("meta_info")
    versions = None if meta is None else meta.inside_or_none("package_info")
    system = None if meta is None else meta.inside_or_none("system_info")
    tested = [row.number_or_none("test accuracy") for row in train.each("metrics")]
    # Renamed in their files in 2025: accelerator for cuda.
    peaks = [train.number_or_none(name) for name in ("accelerator_memory_max", "cuda_memory_max")]
    return ExperimentRow(
        file=file,
        name=run.text("experiment_name"),
        method="full fine-tuning" if adapter is None else adapter.text("peft_type"),
        model=run.inside("train_config").text("model_id"),
        status=train.text("status"),
        test_accuracy=next((value for value in reversed(tested) if value is not None), None),
        train_s=train.number_or_none("train_time"),
        peak_bytes=next((peak for peak in peaks if peak is not None), None),
        trainable_parameters=train.count_or_none("num_trainable_params"),
        adapter_bytes=train.count_or_none("file_size"),
        accelerator=(system.text_or_none("accelerator") if system else None) or "not told",
        peft_version=(versions.text_or_none("peft-version") if versions else None) or "not told",
    )


def experiment_table(rows: Sequence[ExperimentRow]) -> Table:
    """Experiments side by side; comparable with each other where model and accelerator are the same."""
    settings = {(row.model, row.accelerator) for row in rows}
    note = "one model and accelerator" if len(settings) == 1 else "x: several models or accelerators, not comparable"
    mark = CellStatus.OK if len(settings) == 1 else CellStatus.INCOMPARABLE
    return Table(
        id="foreign-peft",
        title="PEFT's method comparison",
        columns=(
            text_column("experiment"),
            text_column("method"),
            text_column("model"),
            number_column("test accuracy", "points"),
            number_column("training", "s"),
            number_column("peak reserved", "MiB"),
            number_column("trainable", "parameters"),
            number_column("adapter", "MiB"),
            text_column("accelerator"),
            text_column("peft"),
            text_column("file"),
        ),
        rows=tuple(_row(row, mark) for row in sorted(rows, key=lambda row: (row.model, row.name))),
        notes=(f"One run each, as published: no interval ({note}).",),
    )


def _row(row: ExperimentRow, mark: CellStatus) -> tuple[Cell, ...]:
    figures = [
        amount(None if row.test_accuracy is None else 100 * row.test_accuracy, ".1f"),
        amount(row.train_s, ",.0f"),
        amount(None if row.peak_bytes is None else row.peak_bytes / MIB, ",.0f"),
        amount(row.trainable_parameters, ",.0f"),
        amount(None if row.adapter_bytes is None else row.adapter_bytes / MIB, ",.2f"),
    ]
    marked = [
        Cell(text=cell.text, sort=cell.sort, status=mark if cell.status is CellStatus.OK else cell.status)
        for cell in figures
    ]
    status = row.name if row.status == "success" else f"{row.name} ({row.status})"
    return (label(status), label(row.method), label(row.model), *marked, label(row.accelerator),
            label(row.peft_version), label(row.file))  # fmt: skip
