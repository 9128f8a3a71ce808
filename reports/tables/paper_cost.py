"""Tables 3, 7 and 8: speed and memory at RoBERTa-base, printed beside the run nearest to the paper's setting."""

from __future__ import annotations

from reports.behind import behind, bracketed, step_times
from reports.document import Cell, CellStatus, Table
from reports.paper.cost_rules import speed_setting
from reports.paper.printed import Printed
from reports.paper.published import COST, TASKS
from reports.reading.settings import on_cuda, paper_model, setting_of
from reports.reading.shelf import Shelf
from reports.reading.speed import SpeedRun
from reports.tables.cells import absent, label, number_column, printed_cell, text_column

__all__ = ["cost_by_task", "cost_table"]


def cost_table(shelf: Shelf) -> Table:
    """Table 3: speed and memory at RoBERTa-base; measured in the setting nearest to the paper's."""
    near = sorted((run for run in shelf.speed if paper_model(run.record) == "roberta-base"), key=_distance)
    run = near[0] if near else None
    full_speed, full_memory = COST["full"]
    rows = []
    for method, (speed, memory) in COST.items():
        rows.append(
            (
                label(method),
                printed_cell(speed),
                _printed_ratio(speed, full_speed),
                _measured_speed(run, method),
                printed_cell(memory, ",.0f"),
                _printed_ratio(memory, full_memory),
                _measured_peak(run, method),
            )
        )
    said = "no run at the RoBERTa-base shape" if run is None else f"measured: {setting_of(run.record)}"
    return Table(
        id="table-3",
        title="Table 3: speed and memory, RoBERTa-base, mean over GLUE",
        columns=(
            text_column("method"),
            number_column("printed", "steps/s"),
            number_column("printed", "x full"),
            number_column("measured speed", "x full", "95% CI over paired rounds"),
            number_column("printed memory", "MB"),
            number_column("printed memory", "x full"),
            number_column("measured peak", "x full"),
        ),
        rows=tuple(rows),
        notes=(f"{said}. x: another setting than the paper's, not comparable with the printed figure.",),
    )


def _distance(run: SpeedRun) -> tuple[bool, bool, bool, int]:
    """From the paper's setting: its own first, any GPU next, then its text and padding, then the run with the most of
    its methods; the newest of equals (the list is sorted by date)."""
    asked = run.record.config
    padded = isinstance(asked.get("task"), str) and asked.get("padding") == "max"
    measured = sum(run.speed(method) is not None for method in COST)
    return not speed_setting(run), not on_cuda(run.record), not padded, -measured


def _printed_ratio(value: Printed, full: Printed) -> Cell:
    if value.value is None or full.value is None:
        return absent("the scans are garbled here")
    ends = sorted(x / full.value for x in value.values)
    others = None if len(ends) == 1 else f"[{ends[0]:.2f}, {ends[-1]:.2f}]"
    return Cell(text=f"{value.value / full.value:.2f}x", sort=value.value / full.value, interval=others)


def _measured_speed(run: SpeedRun | None, method: str) -> Cell:
    if run is None or (ratio := run.speed(method)) is None:
        return absent()
    if method == "full":
        return Cell(text="1", sort=1.0)
    own = speed_setting(run)
    status = CellStatus.INCOMPARABLE if not own else CellStatus.NOISE if run.told(method) == "~" else CellStatus.OK
    return Cell(
        text=f"{ratio.mean:.2f}x",
        sort=ratio.mean,
        status=status,
        interval=bracketed(ratio),
        reason=None if own else setting_of(run.record),
        detail=behind([run.source], [step_times(run.rows[method]), step_times(run.rows["full"])]),
    )


def _measured_peak(run: SpeedRun | None, method: str) -> Cell:
    if run is None or (ratio := run.peak_ratio(method)) is None:
        return absent()
    instrument = run.rows[method].peak_instrument
    own = speed_setting(run)
    return Cell(
        text=f"{ratio:.2f}x",
        sort=ratio,
        status=CellStatus.OK if own else CellStatus.INCOMPARABLE,
        reason=f"instrument: {instrument}",
        detail=behind([run.source]),
    )


def cost_by_task(shelf: Shelf) -> Table:
    """Tables 7 and 8: speed and peak by task at RoBERTa-base; both are garbled in the scans."""
    nearest: dict[str, SpeedRun] = {}
    for run in sorted(shelf.speed, key=_distance):
        if paper_model(run.record) == "roberta-base":
            nearest.setdefault(str(run.record.config.get("task")), run)
    rows = [
        (
            label(method),
            label(what),
            *((_measured_speed if what == "speed" else _measured_peak)(nearest.get(task), method) for task in TASKS),
        )
        for method in COST
        for what in ("speed", "peak")
    ]
    return Table(
        id="table-7",
        title="Tables 7 and 8: speed and memory by task, RoBERTa-base, measured",
        columns=(text_column("method"), text_column("figure"), *(number_column(task, "x full") for task in TASKS)),
        rows=tuple(rows),
        notes=("Printed values are garbled in both scans beyond their averages, table 3. x: another setting.",),
    )
