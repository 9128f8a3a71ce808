"""Gradients through training as lines, a drawing a role: energy, zeros, supports, cores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean

from bench.gradients.energy import KEPT_SHARES
from bench.gradients.spaces import ORIGINAL, ROTATED
from reports.document import Figure
from reports.drawn import or_a_line
from reports.figures.curves import Line, curves
from reports.figures.marks import Axis, Estimate
from reports.reading.fields import Fields, Unreadable
from reports.reading.gradients import GradientRun
from reports.reading.settings import model_called

__all__ = ["core_blocks", "energy_blocks", "stability_blocks", "zero_blocks"]

_KEPT = Axis(name="entries kept", unit="share of a layer", log=True)
_STEP = Axis(name="train step")
_SHARE = "share of squared norm"
Series = Mapping[float, Sequence[float]]
"""Place along the axis -> the values there, which are averaged."""
Points = Callable[[Fields], Iterable[tuple[float, float]]]
"""Places and values of one row."""
Lines = Callable[[Sequence[Fields], str], Mapping[str, Series]]
"""Of a role's rows, and the role: its lines by name."""


@or_a_line
def energy_blocks(run: GradientRun, id: str) -> list[Figure]:
    """The share of the squared norm that the largest entries of a step hold, a line a space."""
    return _drawn(run, id, "Gradient energy", _KEPT, _SHARE, _spaces_by(_energy))


def _energy(row: Fields) -> Iterable[tuple[float, float]]:
    curve = row.numbers("curve")
    if curve and len(curve) != len(KEPT_SHARES):
        raise Unreadable(f"{row.place}.curve: {len(KEPT_SHARES)} shares expected, got {len(curve)}")
    return zip(KEPT_SHARES, curve, strict=False)  # none where all of the gradient's entries were zero


@or_a_line
def core_blocks(run: GradientRun, id: str) -> list[Figure]:
    """The share of the squared norm in the leading core, against its side, a line a rotated space."""
    sides = {linear.text("name"): _sides(linear) for linear in Fields.of(run.record.result).each("linears")}

    def points(row: Fields) -> Iterable[tuple[float, float]]:
        shares = row.numbers("core_energy_shares")
        return zip(sides[row.text("linear")], shares, strict=True) if shares else ()

    across = Axis(name="side of the leading core", unit="rows and columns", log=True)
    return _drawn(run, id, "Energy in the leading core", across, _SHARE, _spaces_by(points))


def _sides(linear: Fields) -> list[float]:
    cores = linear.told.get("cores")
    if not isinstance(cores, list):
        raise Unreadable(f"{linear.place}.cores: a list expected")
    return [max(Fields({"core": core}, linear.place).numbers("core")) for core in cores]


@or_a_line
def stability_blocks(run: GradientRun, id: str) -> list[Figure]:
    """How much of a step's support is that of the step before, and how much is the one chosen at calibration."""
    told = {"the step before": "jaccard_step_before", "calibration": "jaccard_calibration"}
    return [
        figure
        for number, (other, name) in enumerate(told.items(), 1)
        for figure in _drawn(
            run,
            f"{id}-{number}",
            f"Support of a step and of {other}",
            _STEP,
            "Jaccard index",
            _spaces_by(_through(name)),
        )
    ]


@or_a_line
def zero_blocks(run: GradientRun, id: str) -> list[Figure]:
    """Entries of dL/dY, dL/dW and dL/dW~ that are not exactly zero, and those that hold 99% of the energy."""
    outputs = Fields.of(run.record.result).each("dy_rows")

    def lines(rows: Sequence[Fields], role: str) -> dict[str, Series]:
        of = {
            "dL/dY": [row for row in outputs if row.text("role") == role],
            "dL/dW": [row for row in rows if row.text("space") == ORIGINAL],
            "dL/dW~": [row for row in rows if row.text("space") == ROTATED],
        }
        told = [(name, "nonzero", "nonzero_share") for name in of]
        told += [(name, "holding 99%", "significant_99_share") for name in ("dL/dW", "dL/dW~")]
        return {f"{name}, {what}": _gathered(of[name], _through(field)) for name, what, field in told}

    return _drawn(run, id, "Nonzero entries through training", _STEP, "share of entries", lines)


def _drawn(
    run: GradientRun,
    id: str,
    title: str,
    across: Axis,
    upward: str,
    lines_of: Lines,
) -> list[Figure]:
    """A drawing a role; none of a role whose record has not these figures."""
    by_role: dict[str, list[Fields]] = defaultdict(list)
    for row in Fields.of(run.record.result).each("rows"):
        by_role[row.text("role")].append(row)
    figures = []
    for number, (role, rows) in enumerate(by_role.items(), 1):
        lines = {name: series for name, series in lines_of(rows, role).items() if series}
        if lines:
            over = "blocks" if across is _STEP else "blocks and readings"
            note = f"mean over {over}, {_many(lines.values())} a point"
            axis = Axis(name=upward, higher_is_better=True if upward == _SHARE else None, note=note)
            drawn = [_line(name, series) for name, series in lines.items()]
            named = f"{title}, {role}, {model_called(run.record)}"
            figures.append(curves(f"{id}-{number}", named, drawn, across=across, upward=axis))
    return figures


def _spaces_by(points: Points) -> Lines:
    """A line a space."""

    def lines(rows: Sequence[Fields], _: str) -> dict[str, Series]:
        spaces = dict.fromkeys(row.text("space") for row in rows)
        return {space: _gathered([row for row in rows if row.text("space") == space], points) for space in spaces}

    return lines


def _gathered(rows: Sequence[Fields], points: Points) -> Series:
    found: dict[float, list[float]] = defaultdict(list)
    for row in rows:
        for at, value in points(row):
            found[at].append(value)
    return found


def _through(name: str) -> Points:
    """The figure of that name, by train step."""

    def points(row: Fields) -> Iterable[tuple[float, float]]:
        value = row.number_or_none(name)
        return () if value is None else ((row.number("step"), value),)

    return points


def _line(name: str, series: Series) -> Line:
    at = tuple(sorted(series))
    return Line(name=name, at=at, values=tuple(Estimate(value=fmean(series[place])) for place in at))


def _many(found: Iterable[Series]) -> str:
    counts = sorted({len(values) for series in found for values in series.values()})
    return f"n = {' or '.join(map(str, counts))}"
