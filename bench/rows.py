"""From measured turns and records to the rows of a speed table: JSON types, units in the names, no sentinel numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from bench.calibration import doubt
from bench.drift import machine_reasons, trend
from bench.machine import MachineLog
from bench.record import Record, Status
from bench.stats import RatioInterval, detectable_ratio, noise_floor, ratio_interval, sign_test, verdict
from bench.timing import Contestant
from bench.train import PHASES
from sparsegrad.methods import METHODS

BASELINE = "full"
# The baseline a second time, from a model of its own: what two equal things differ by on this machine.
SECOND_BASELINE = "full (A/A)"


def speed_ratio(baseline: Sequence[float], samples: Sequence[float]) -> RatioInterval:
    """Speed of ``samples`` over that of ``baseline`` (milliseconds a step, paired by round): above 1 is faster."""
    return ratio_interval(baseline, samples)


def result(
    contestants: Sequence[Contestant],
    peaks: Mapping[str, Record],
    calibrations: Mapping[str, Record],
    zero_row_share: float | None,
    machine: MachineLog | None = None,
    *,
    drift: str = "invalid",
) -> dict[str, Any]:
    """Everything the speed record holds: rows, the A/A pair, pairs of methods, raw samples, readings of the machine.

    ``peaks`` and ``calibrations``: records by method name. ``drift``: what a machine that did not hold still makes of
    the rows, "invalid" or a "note".
    """
    by_name = {contestant.name: contestant for contestant in contestants}
    baseline = by_name[BASELINE].samples_ms
    twin = by_name[SECOND_BASELINE].samples_ms
    comparable = by_name[BASELINE].failure is None and by_name[SECOND_BASELINE].failure is None and bool(baseline)
    aa = speed_ratio(baseline, twin) if comparable else None
    told = _told_of_machine(by_name, machine, drift, paired=comparable)
    distrust = told["distrust"] if drift == "invalid" else {}
    rows = [
        _row(
            contestant,
            peaks.get(name),
            calibrations.get(name),
            by_name[BASELINE],
            peaks.get(BASELINE),
            aa,
            distrust.get(name),
        )
        for name, contestant in by_name.items()
        if name != SECOND_BASELINE
    ]
    return {
        "rows": rows,
        "aa": _second_baseline(by_name[SECOND_BASELINE], aa, baseline, distrust.get(SECOND_BASELINE)),
        "pairs": _pairs(by_name, peaks, distrust),
        "zero_row_share": zero_row_share,
        "calibrations": _calibrations(calibrations),
        "machine": told,
    }


def _told_of_machine(
    by_name: Mapping[str, Contestant], machine: MachineLog | None, drift: str, *, paired: bool
) -> dict[str, Any]:
    """The readings, and ``distrust``: contestant -> why its samples are not to be trusted, one line.

    What befell the machine befell everyone; a contestant may also change on its own, against the baseline.
    """
    first, second = ((by_name[name].samples_ms if paired else []) for name in (BASELINE, SECOND_BASELINE))
    reasons = [] if machine is None else machine_reasons(first, second, machine)
    distrust = {}
    for name, contestant in by_name.items():
        own = list(reasons)
        samples = contestant.samples_ms
        if name not in (BASELINE, SECOND_BASELINE) and samples and len(samples) == len(first):
            factor = trend([ms / reference for ms, reference in zip(samples, first, strict=True)])
            if factor is not None:
                own.append(f"its time against {BASELINE} changed by {factor:.2f}x over the rounds")
        if own and contestant.failure is None:
            distrust[name] = "; ".join(own)
    readings = {} if machine is None else machine.as_json()
    return {"drift": drift, "reasons": reasons, "distrust": distrust, **readings}


def _second_baseline(
    twin: Contestant, aa: RatioInterval | None, baseline: Sequence[float], distrust: str | None
) -> dict[str, Any]:
    """The A/A pair; where it could not be measured, why, and no ratio."""
    status, reason = _status(twin, None, distrust)
    unmeasured = {"mean": None, "low": None, "high": None, "rounds": 0}
    seen = math.inf if aa is None else detectable_ratio(baseline, twin.samples_ms)
    return {
        "method": twin.name,
        "status": str(status),
        "reason": reason,
        **(unmeasured if aa is None else aa.as_json()),
        "detectable_ratio": seen if math.isfinite(seen) else None,
        "samples_ms": twin.samples_ms,
    }


def _row(
    contestant: Contestant,
    peak: Record | None,
    calibration: Record | None,
    baseline: Contestant,
    baseline_peak: Record | None,
    aa: RatioInterval | None,
    distrust: str | None,
) -> dict[str, Any]:
    status, reason = _status(contestant, peak, distrust)
    samples, reference = contestant.samples_ms, baseline.samples_ms
    # What is not to be trusted has raw samples and no figures.
    timed = contestant.failure is None and bool(samples) and distrust is None
    ratio = speed_ratio(reference, samples) if timed and baseline.failure is None else None
    step_ms = fmean(samples) if timed else None
    read = peak.result if peak is not None and peak.status is Status.OK else {}
    full = baseline_peak.result if baseline_peak is not None and baseline_peak.status is Status.OK else {}
    # Without the A/A pair nothing tells a difference from noise.
    told = None if ratio is None else verdict(ratio, noise_floor(aa)) if aa is not None else "~"
    setup = None if calibration is None else _calibration(calibration)
    return {
        "method": contestant.name,
        "status": str(status),
        "reason": reason,
        "steps_per_s": None if step_ms is None else 1e3 / step_ms,
        "ratio_to_full": None if ratio is None else ratio.as_json(),
        "verdict": told,
        "sign_p": None if ratio is None else _sign_p(reference, samples),
        "step_ms": step_ms,
        "tokens_per_s": 1e3 * sum(contestant.rounds_tokens) / sum(samples) if timed else None,
        **{f"{phase}_ms": fmean(s[phase] for s in contestant.rounds_ms) if timed else None for phase in PHASES},
        "peak_bytes": read.get("peak_bytes"),
        "peak_instrument": read.get("instrument"),
        "peak_by_phase_bytes": read.get("by_phase_bytes"),
        "peak_requested_bytes": read.get("requested_bytes"),
        "peak_reserved_bytes": read.get("reserved_bytes"),
        "peak_ratio_to_full": read["peak_bytes"] / full["peak_bytes"] if read and full else None,
        "trainable_parameters": read.get("trainable_parameters"),
        "updated_parameters": read.get("updated_parameters"),
        "adapter_bytes": read.get("adapter_bytes"),
        "kept_entries": contestant.kept_entries,
        "convert_s": contestant.convert_s,
        "calibration_s": None if setup is None else setup["calibration_s"],
        "calibration_peak_bytes": None if setup is None else setup["peak_bytes"],
        "break_even_steps": _break_even(setup, contestant, step_ms, reference, told),
        "losses": contestant.losses,
        "samples_ms": samples,
        "samples_by_phase_ms": contestant.rounds_ms,
    }


def _sign_p(reference: Sequence[float], samples: Sequence[float]) -> float:
    """Of as many rounds won as lost: asks for no distribution, where the interval asks for a normal one."""
    return sign_test(
        sum(ms < other for ms, other in zip(samples, reference, strict=True)),
        sum(ms > other for ms, other in zip(samples, reference, strict=True)),
    )


def failures(value: Mapping[str, Any]) -> list[str]:
    """One line for each reason that some row, or the A/A pair, is not ok, with the rows it holds for."""
    said: dict[str, list[str]] = {}
    for row in (*value["rows"], value["aa"]):
        if row["status"] != Status.OK:
            said.setdefault(f"{row['status']}: {row['reason']}", []).append(row["method"])
    return [f"{', '.join(names)}: {reason}" for reason, names in said.items()]


def _status(contestant: Contestant, peak: Record | None, distrust: str | None) -> tuple[Status, str | None]:
    """The worst of the two measurements."""
    if contestant.failure is not None:
        return contestant.failure.status, contestant.failure.reason
    if distrust is not None:
        return Status.INVALID, distrust
    if peak is not None and peak.status is not Status.OK:
        return peak.status, f"peak memory: {peak.reason}"
    return Status.OK, None


def _break_even(
    setup: Mapping[str, Any] | None,
    contestant: Contestant,
    step_ms: float | None,
    reference: Sequence[float],
    told: str | None,
) -> float | None:
    """Steps after which calibration and conversion are earned back against the baseline; None: never, or not known."""
    if setup is None or setup["calibration_s"] is None or setup["distrust"] is not None:
        return None
    if step_ms is None or told != "faster":
        return None
    return 1e3 * (setup["calibration_s"] + (contestant.convert_s or 0.0)) / (fmean(reference) - step_ms)


def _calibrations(records: Mapping[str, Record]) -> list[dict[str, Any]]:
    """Each calibration once, with the methods that use its bases."""
    users: dict[str, list[str]] = {}
    for name, record in records.items():
        users.setdefault(record.key, []).append(name)
    by_key = {record.key: record for record in records.values()}
    return [{"methods": names, **_calibration(by_key[key])} for key, names in users.items()]


def _calibration(record: Record) -> dict[str, Any]:
    """``distrust``: why its seconds, of one making, are not to be trusted; None where the machine held still."""
    return {
        "status": str(record.status),
        "reason": record.reason,
        "distrust": doubt(record.result),
        **{name: record.result.get(name) for name in ("basis", "calibration_s", "steps", "peak_bytes", "instrument")},
    }


def _pairs(
    by_name: Mapping[str, Contestant], peaks: Mapping[str, Record], distrust: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Each method beside those that its claims are made against (``Method.beside``), where both can be trusted."""
    pairs = []
    trusted = {name: contestant for name, contestant in by_name.items() if name not in distrust}
    for name, contestant in trusted.items():
        method = METHODS.get(name)
        for other in (trusted[known] for known in (method.beside if method else ()) if known in trusted):
            if contestant.failure is None and other.failure is None and contestant.rounds_ms:
                same = method is not None and method.same_as == other.name
                pairs.append(
                    {
                        "method": name,
                        "over": other.name,
                        "speed_ratio": speed_ratio(other.samples_ms, contestant.samples_ms).as_json(),
                        "peak_ratio": _peak_ratio(peaks.get(name), peaks.get(other.name)),
                        "largest_loss_difference": _largest_gap(contestant, other) if same else None,
                        "steps": len(contestant.losses),
                    }
                )
    return pairs


def _peak_ratio(peak: Record | None, other: Record | None) -> float | None:
    if peak is None or other is None or peak.status is not Status.OK or other.status is not Status.OK:
        return None
    return peak.result["peak_bytes"] / other.result["peak_bytes"]


def _largest_gap(a: Contestant, b: Contestant) -> float:
    """How far the losses of two ways to compute the same numbers part."""
    return max(abs(x - y) for x, y in zip(a.losses, b.losses, strict=True))
