"""The curves of a record: energy against kept entries, supports and zeros through training, cores, spectra."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from bench.gradients.energy import BINS, KEPT_SHARES
from bench.gradients.spaces import ORIGINAL, ROTATED
from bench.gradients.summary import mean
from bench.plotting import COLOURS

__all__ = ["cores", "drift", "energy_curves", "histograms", "nonzero_shares", "spectra", "stability"]

_MARKS = ("o", "s", "^", "v", "D", "P", "X")
_LINES = ("-", "--", "-.", ":", "-", "--", "-.")
_TICKS = 9
# Squares of singular values are read off Gram matrices in double precision: below its root is rounding.
_SEEN = 1e-8
Row = Mapping[str, Any]


def energy_curves(style: Any, result: Row, setting: str) -> Any:
    """Share of the energy that the largest entries of a step hold, against how many are kept, a line a space."""

    def draw(panel: Any, role: str) -> None:
        for place, space in enumerate(result["spaces"]):
            curves = [row["curve"] for row in _rows(result, role, space) if row["curve"] is not None]
            ys = [mean(values) for values in zip(*curves, strict=True)]
            if ys:
                _line(panel, [100 * share for share in KEPT_SHARES], ys, place, space)
        _log(panel, "x")
        panel.set(xlabel="entries kept, % of the layer", ylabel="share of squared norm", ylim=(0, 1.02))

    return _by_role(style, result, f"{setting}\nenergy held by the largest entries of a step; {_n(result)}", draw)


def stability(style: Any, result: Row, setting: str) -> Any:
    """How much of a step's support is that of the step before, through training."""
    return _likeness(style, result, setting, "jaccard_step_before", "the step before")


def drift(style: Any, result: Row, setting: str) -> Any:
    """How much of a step's support is the one chosen at calibration, through training."""
    return _likeness(style, result, setting, "jaccard_calibration", "calibration")


def _likeness(style: Any, result: Row, setting: str, name: str, other: str) -> Any:
    def draw(panel: Any, role: str) -> None:
        for place, space in enumerate(result["spaces"]):
            _line(panel, *_through(_rows(result, role, space), name), place, space)
        panel.set(xlabel="train step", ylabel="Jaccard index", ylim=(0, 1.02), xticks=_ticks(result["readings"]))

    title = f"{setting}\nthe largest entries of a step and those of {other}; {_n(result)}"
    return _by_role(style, result, title, draw)


def nonzero_shares(style: Any, result: Row, setting: str) -> Any:
    """Entries of dL/dY, dL/dW and dL/dW~ that are not exactly zero, and those that hold 99% of the energy."""

    def draw(panel: Any, role: str) -> None:
        dy = [row for row in result["dy_rows"] if row["role"] == role]
        original, rotated = _rows(result, role, ORIGINAL), _rows(result, role, ROTATED)
        lines: list[tuple[str, Sequence[Row], str]] = [
            ("dL/dY, nonzero", dy, "nonzero_share"),
            ("dL/dW, nonzero", original, "nonzero_share"),
            ("dL/dW~, nonzero", rotated, "nonzero_share"),
            ("dL/dW, holding 99%", original, "significant_99_share"),
            ("dL/dW~, holding 99%", rotated, "significant_99_share"),
        ]
        for place, (label, rows, name) in enumerate(lines):
            _line(panel, *_through(rows, name), place, label)
        panel.set(xlabel="train step", ylabel="share of entries", ylim=(0, 1.02), xticks=_ticks(result["readings"]))

    title = f"{setting}\nentries that are not zero, and that matter, through training; {_n(result)}"
    return _by_role(style, result, title, draw)


def cores(style: Any, result: Row, setting: str) -> Any:
    """Share of the energy in the leading rows and columns of the rotated spaces, against the side of the core."""
    whole = {linear["role"]: linear["cores"] for linear in result["linears"]}

    def draw(panel: Any, role: str) -> None:
        for place, space in enumerate(result["spaces"]):
            read = [row["core_energy_shares"] for row in _rows(result, role, space)]
            known = [shares for shares in read if shares is not None]
            if known:
                ys = [mean(values) for values in zip(*known, strict=True)]
                _line(panel, [max(core) for core in whole[role]], ys, place, space)
        _log(panel, "x")
        panel.set(xlabel="side of the leading core (clipped to the layer)", ylim=(0, 1.02))
        panel.set_ylabel("share of squared norm")

    return _by_role(style, result, f"{setting}\nenergy in the leading r x r core; {_n(result)}", draw)


def histograms(style: Any, result: Row, setting: str) -> Any:
    """How many entries have which magnitude, before and after rotation, in the drawn block."""
    centres = [(low + high) / 2 for low, high in pairwise(BINS)]

    def draw(panel: Any, role: str) -> None:
        picture = next(one for one in result["pictures"] if one["role"] == role)
        for place, (space, label) in enumerate(((ORIGINAL, "dL/dW"), (ROTATED, "dL/dW~"))):
            if picture[f"histogram_{space}"] is not None:
                _line(panel, centres, picture[f"histogram_{space}"], place, label)
        panel.set(xlabel="log10 of magnitude / root mean square", ylabel="share of entries", ylim=(0, None))

    first = result["pictures"][0]
    bins = "magnitudes of entries, two bins a decade, the outer ones open; n = 1 gradient a panel"
    title = f"{setting}, step {first['step']}, block {first['block']}\n{bins}"
    return _by_role(style, result, title, draw)


def spectra(style: Any, result: Row, setting: str, bases: Mapping[str, Row]) -> Any:
    """Singular values of both unfoldings of the stacked calibration gradients, by rank; ``bases``: results by name."""
    of = {linear["name"]: linear["role"] for linear in result["linears"]}
    steps = next(iter(bases.values()))["steps"]

    def draw(panel: Any, role: str) -> None:
        for place, (name, told) in enumerate(bases.items()):
            for mode in ("in", "out"):
                own = [both[mode] for key, both in told["decay"].items() if of.get(key, key) == role and mode in both]
                known = [one for one in own if one["relative"] is not None]
                if known:
                    ys = [mean(values) for values in zip(*(one["relative"] for one in known), strict=True)]
                    _line(panel, known[0]["ranks"], ys, place, f"{name}, {mode}", hollow=mode == "out", every=6)
        _log(panel, "x")
        _log(panel, "y")
        panel.set(xlabel="rank", ylabel="singular value / largest", ylim=(max(_SEEN, panel.get_ylim()[0]), None))

    blocks = len({linear["block"] for linear in result["linears"]})
    title = f"{setting}\nspectra of the stacked gradients (n = {steps} batches x {blocks} blocks; per-block: mean)"
    return _by_role(style, result, title, draw)


def _by_role(style: Any, result: Row, title: str, draw: Callable[[Any, str], None]) -> Any:
    """A panel a role, one legend."""
    roles = list(dict.fromkeys(linear["role"] for linear in result["linears"]))
    figure = style.Figure(figsize=(4.1 * len(roles), 3.9), layout="constrained")
    panels = figure.subplots(1, len(roles), squeeze=False)[0]
    for panel, role in zip(panels, roles, strict=True):
        draw(panel, role)
        panel.set_title(role, fontsize=8)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=7)
    figure.suptitle(title, size=9)
    return figure


def _log(panel: Any, side: str) -> None:
    """A log axis whose numbers are plain text, as the house's style wants it."""
    panel.set(**{f"{side}scale": "log"})
    axis = getattr(panel, f"{side}axis")
    axis.set_major_formatter(lambda value, _place: f"{value:g}")
    axis.set_minor_formatter(lambda _value, _place: "")


def _ticks(readings: Sequence[int]) -> Sequence[int]:
    """As many of them as stand beside each other without running together."""
    apart = -(-len(readings) // _TICKS)
    return readings[apart - 1 :: apart]


def _line(
    panel: Any,
    xs: Iterable[float],
    ys: Iterable[float | None],
    place: int,
    label: str,
    *,
    hollow: bool = False,
    every: int = 1,
) -> None:
    colour = COLOURS[place % len(COLOURS)]
    style = {"markerfacecolor": "white"} if hollow else {}
    mark, dashes = _MARKS[place % len(_MARKS)], _LINES[place % len(_LINES)]
    panel.plot(
        list(xs), list(ys), dashes, marker=mark, color=colour, label=label, markersize=4, markevery=every, **style
    )


def _rows(result: Row, role: str, space: str) -> list[Row]:
    return [row for row in result["rows"] if (row["role"], row["space"]) == (role, space)]


def _through(rows: Sequence[Row], name: str) -> tuple[list[int], list[float]]:
    """Steps, and the mean over blocks at each, where it was measured."""
    steps = sorted({row["step"] for row in rows})
    means = {step: mean(row[name] for row in rows if row["step"] == step) for step in steps}
    known = {step: value for step, value in means.items() if value is not None}
    return list(known), list(known.values())


def _n(result: Row) -> str:
    blocks = len({linear["block"] for linear in result["linears"]})
    return f"means, n = {blocks} blocks x {len(result['readings'])} readings"
