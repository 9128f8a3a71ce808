"""Speed, memory and setup as tables: one run, or one group of comparable peaks, a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.calibration import doubt
from bench.rows import BASELINE
from bench.tables import raw_samples
from bench.train import PHASES
from reports.behind import behind, bracketed, noted, step_times
from reports.document import Cell, Samples, Table
from reports.reading.calibrations import Calibration
from reports.reading.memory import Peak, PeakGroup
from reports.reading.settings import setting_of
from reports.reading.speed import SpeedRow, SpeedRun
from reports.tables.cells import (
    MIB,
    absent,
    amount,
    count_cell,
    failure,
    label,
    number_column,
    rate_cell,
    ratio_cell,
    text_column,
)
from sparsegrad.methods import METHODS

__all__ = ["calibration_table", "peak_table", "speed_table"]

_INSTRUMENTS = {
    "tracked": "tracked peak of live tensor storages: not CUDA memory, and not the process's size",
    "predicted": "predicted from shapes, every token active: nothing was allocated",
}

More = tuple[str, str, str, Callable[[Peak], float | None]]
# Shown where a record tells them: name, unit, note, figure.
_MORE: tuple[More, ...] = (
    ("saved", "MiB", "held for the backward when the forward ends", lambda peak: peak.saved_bytes),
    ("leak", "MiB a step", "more alive after each step than after the one before", lambda peak: peak.leak_bytes),
    ("requested", "MiB", "before CUDA's allocator rounds", lambda peak: peak.requested_bytes),
    ("reserved", "MiB", "held by CUDA's allocator", lambda peak: peak.reserved_bytes),
)


def speed_table(run: SpeedRun, id: str, what: str = "Speed") -> Table:
    """Every method, or level, of one interleaved run, with its samples behind each figure; ``what`` opens its title."""
    return Table(
        id=id,
        title=f"{what}: {setting_of(run.record)}",
        columns=(
            text_column("method"),
            number_column("steps/s", note="higher is better"),
            number_column("speed", "x full", "95% CI over paired rounds; ~: inside the A/A noise"),
            *(number_column(phase, "ms") for phase in PHASES),
            number_column("tokens/s", note="padding not counted"),
            number_column("peak", "MiB", "lower is better"),
            number_column("peak", "x full"),
            number_column("trainable", "parameters"),
            number_column("updated", "parameters a step"),
            number_column("adapter", "MiB", "kept of the tuned linears beside the base model"),
            number_column("setup", "s", "calibration and conversion, each timed once"),
            number_column("earned back", "steps", "training steps after which setup is earned back against full"),
        ),
        rows=tuple(_speed_row(run, row) for row in run.rows.values()),
        notes=(*_speed_notes(run), *noted([run.source])),
    )


def _speed_row(run: SpeedRun, row: SpeedRow) -> tuple[Cell, ...]:
    own = behind([run.source], [step_times(row)], "mean over rounds")
    if row.steps_per_s is None:
        speed = [failure(row.status, row.reason), absent(), *(absent() for _ in PHASES), absent()]
    else:
        full = run.rows.get(BASELINE)
        pair = behind(
            [run.source], [step_times(row), *([step_times(full)] if full else [])], "geometric mean of ratios"
        )
        itself = row.method == BASELINE
        speed = [
            rate_cell(row.steps_per_s, detail=own),
            Cell(text="1", sort=1.0) if itself else ratio_cell(run.speed(row.method), run.told(row.method), pair),
            *(amount(row.phases_ms.get(phase), ",.1f", detail=own) for phase in PHASES),
            amount(row.tokens_per_s, ",.0f", detail=own),
        ]
    setup = None if row.calibration_s is None and row.convert_s is None else (row.calibration_s or 0.0) + (
        row.convert_s or 0.0
    )  # fmt: skip
    source = behind([run.source])
    return (
        label(row.method),
        *speed,
        amount(_mib(row.peak_bytes), ",.1f", detail=source),
        amount(run.peak_ratio(row.method), ".3f", detail=source),
        count_cell(row.trainable_parameters, detail=source),
        count_cell(row.updated_parameters, detail=source),
        amount(_mib(row.adapter_bytes), ",.2f", detail=source),
        amount(setup, ",.1f", detail=source),
        amount(row.break_even_steps, ",.0f", detail=source),
    )


def _speed_notes(run: SpeedRun) -> list[str]:
    rounds = max((len(row.samples_ms) for row in run.rows.values()), default=0)
    notes = [f"One interleaved run of {rounds} rounds; its rows may be compared with each other, with no other run's."]
    if run.aa is None:
        notes.append("A/A: not measured; without it no difference is told from noise.")
    else:
        notes.append(f"A/A: full against itself {run.aa.mean:.2f}x {bracketed(run.aa)}.")
    instruments = {row.peak_instrument for row in run.rows.values() if row.peak_instrument}
    notes += [f"Peak: {_INSTRUMENTS.get(name, name)}, each method in a fresh process." for name in sorted(instruments)]
    if run.zero_row_share is not None:
        notes.append(f"Zero rows of dL/dy (padding): {run.zero_row_share:.3f} of all.")
    for method in run.rows:
        for other in METHODS[method].beside if method in METHODS else ():
            ratio = run.speed(method, other)
            if ratio is not None:
                mark = "~ " if run.told(method, other) == "~" else ""
                notes.append(f"{method} over {other}: {mark}{ratio.mean:.2f}x {bracketed(ratio)} the speed.")
    notes += [f"{row.method}: {row.status}: {row.reason}" for row in run.rows.values() if row.reason]
    left = [{"method": row.method, "status": row.status, "samples_ms": row.distrusted_ms} for row in run.rows.values()]
    return notes + raw_samples(left, of="method")


def peak_table(group: PeakGroup, id: str) -> Table:
    """Peaks of one setting by one instrument."""
    phases = list(dict.fromkeys(phase for peak in group.peaks.values() for phase in peak.by_phase_bytes))[:6]
    more = [told for told in _MORE if any(told[3](peak) is not None for peak in group.peaks.values())]
    return Table(
        id=id,
        title=f"Peak memory, {group.instrument}: {setting_of(group.record)}",
        columns=(
            text_column("method"),
            number_column("peak", "MiB", "lower is better"),
            number_column("peak", "x full"),
            number_column("peak", "x lora"),
            *(number_column(phase, "MiB", "peak within the phase") for phase in phases),
            number_column("trainable", "parameters"),
            number_column("updated", "parameters a step"),
            number_column("adapter", "MiB"),
            *(number_column(name, unit, note) for name, unit, note, _ in more),
        ),
        rows=tuple(_peak_row(group, peak, phases, more) for peak in _full_first(group)),
        notes=(
            f"Peak: {_INSTRUMENTS.get(group.instrument, group.instrument)}. One exact reading a method: no interval.",
            *noted(peak.source for peak in group.peaks.values()),
        ),
    )


def _full_first(group: PeakGroup) -> list[Peak]:
    order = {name: place for place, name in enumerate(METHODS)}
    return sorted(group.peaks.values(), key=lambda peak: (order.get(peak.method, len(order)), peak.method))


def _peak_row(group: PeakGroup, peak: Peak, phases: Sequence[str], more: Sequence[More]) -> tuple[Cell, ...]:
    own = behind([peak.source], [Samples(name=f"{peak.method}: peak", unit="bytes", values=(float(peak.peak_bytes),))])
    return (
        label(peak.method),
        amount(_mib(peak.peak_bytes), ",.1f", detail=own),
        *(amount(group.ratio(peak.method, other), ".3f", detail=own) for other in (BASELINE, "lora")),
        *(amount(_mib(peak.by_phase_bytes.get(phase)), ",.1f", detail=own) for phase in phases),
        count_cell(peak.trainable_parameters, detail=own),
        count_cell(peak.updated_parameters, detail=own),
        amount(_mib(peak.adapter_bytes), ",.2f", detail=own),
        *(amount(_mib(read(peak)), ",.1f", detail=own) for _, _, _, read in more),
    )


def calibration_table(runs: Sequence[Calibration], id: str) -> Table:
    """What making bases cost."""
    rows = [
        (
            label(setting_of(run.record)),
            label(run.basis or str(run.record.config.get("basis") or "unnamed")),
            amount(run.steps, ",.0f", detail=behind([run.source])),
            amount(run.seconds, ",.1f", detail=behind([run.source])),
            amount(_mib(run.peak_bytes), ",.1f", detail=behind([run.source])),
            label(run.instrument or "n/a"),
        )
        for run in runs
    ]
    return Table(
        id=id,
        title="Preliminary phase: making the bases",
        columns=(
            text_column("setting"),
            text_column("basis"),
            number_column("batches"),
            number_column("time", "s", "timed once, no interval"),
            number_column("peak", "MiB"),
            text_column("instrument"),
        ),
        rows=tuple(rows),
        notes=(
            "Rows are of different settings: they stand beside each other, and are not compared.",
            *(
                f"{setting_of(run.record)}: time not to be trusted: {doubt(run.record.result)}."
                for run in runs
                if doubt(run.record.result)
            ),
            *noted(run.source for run in runs),
        ),
    )


def _mib(amount_bytes: float | None) -> float | None:
    return None if amount_bytes is None else amount_bytes / MIB
