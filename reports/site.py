"""A Document as one HTML file: nothing is fetched, nothing is sent, and every string in it is text."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from eval.mtbench.hostile import visible
from reports.document import Cell, CellStatus, Claim, Column, Detail, Document, Run, Samples, Section, Table, Verdict
from reports.letters import Letters
from reports.provenance import SAMPLES_LIE
from reports.vector import inline_svg

__all__ = ["page"]

_TEMPLATES = Path(__file__).with_name("templates")
# Fields of a request, in the order in which people name a run.
_TELLING = ("model", "task", "method", "lr", "scored_on")
_MARKS = {
    CellStatus.OK: "ok",
    CellStatus.NOISE: "noise",
    CellStatus.INCOMPARABLE: "incomparable",
    CellStatus.NOT_MEASURED: "na",
    CellStatus.FAILED: "failed",
}


def page(document: Document) -> str:
    """The page. Its policy lets a browser run this script and wear this style alone, and reach nothing else."""
    style = Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8"))
    script = Markup((_TEMPLATES / "page.js").read_text(encoding="utf-8"))
    runs = {run.id: run for run in document.runs}
    letters = Letters()
    anchors = {run.id: f"run.{number}" for number, run in enumerate(document.runs, 1)}
    template = _environment().get_template("page.html")
    return template.render(
        document=document,
        style=style,
        script=script,
        policy=_policy(style, script),
        run=runs.__getitem__,
        run_anchor=anchors.__getitem__,
        kind_of=lambda block: type(block).__name__,
        mark=lambda cell: _MARKS[cell.status],
        sort_attribute=_sort_attribute,
        verdict_order=list(Verdict).index,
        number="{:.6g}".format,  # the record has every digit
        strip=_strip,
        where=_where,
        asked=_asked,
        samples_lie=SAMPLES_LIE,
        figures=_figures,
        opened_by=_opened_by,
        drawing=lambda figure: inline_svg(figure.svg, figure.id, _told(figure.alt), letters),
        letters=letters.svg,
        windows=_windows,
        what_it_takes=_what_it_takes,
        tables_of=_tables_of,
        run_groups=_run_groups(document.runs),
        by_command=lambda detail: _by_command(runs[id] for id in detail.runs),
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_told,
    )


def _told(value: Any) -> Any:
    """Strings with what acts instead of showing written out: no control, no reordering, no half surrogate pair."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _policy(style: str, script: str) -> str:
    """Content-Security-Policy, level 3: what is not named by its hash does not run."""
    # A parser takes CR LF for LF; the files hold LF alone, so the hash is that of what the browser sees.
    hashed = {
        name: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for name, text in (("style", style), ("script", script))
    }
    return (
        f"default-src 'none'; style-src 'sha256-{hashed['style']}'; script-src 'sha256-{hashed['script']}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _sort_attribute(cell: Cell, column: Column) -> Markup:
    """What the script orders rows by; an empty value is not measured and comes last."""
    if isinstance(cell.sort, str):
        return Markup(' data-sort="{}"').format(_told(cell.sort))
    if cell.sort is not None and math.isfinite(cell.sort):
        return Markup(' data-sort="{}"').format(repr(float(cell.sort)))
    return Markup(' data-sort=""') if column.numeric else Markup("")


def _strip(samples: Samples) -> Markup:
    """The samples as dots on a line from the least to the greatest; nothing where there is no spread to see."""
    seen = [value for value in samples.values if math.isfinite(value)]
    if len(seen) < 2 or (low := min(seen)) == (high := max(seen)):
        return Markup("")
    scale = 296 / (high - low)
    dots = Markup("").join(
        Markup('<circle cx="{}" cy="9" r="3.5"/>').format(f"{2 + (value - low) * scale:.1f}") for value in seen
    )
    label = f"from {low:.6g} to {high:.6g} {samples.unit}"
    return Markup(
        '<svg class="strip" viewBox="0 0 300 18" role="img" aria-label="{}" '
        'fill="currentColor" fill-opacity="0.45">{}</svg>'
    ).format(_told(label), dots)


def _where(run: Run) -> str:
    """The machine in a few words."""
    told = dict(run.environment)
    parts = (told.get("host"), told.get("gpu") or told.get("gpu.name") or told.get("cpu"))
    return ", ".join(part for part in parts if part) or "machine not recorded"


def _asked(run: Run) -> str:
    """What tells one run from the others in a list."""
    told = dict(run.config)
    parts = ("/".join(told[name].split("/")[-2:]) for name in _TELLING if name in told)  # the end of a path tells
    return ", ".join((*parts, f"seed {run.seed}"))


def _windows(row: Sequence[Cell]) -> list[list[int]]:
    """Places of the cells that open one window: of a row those that the same stands behind."""
    found: dict[Detail, list[int]] = {}
    for place, cell in enumerate(row):
        if cell.detail is not None:
            found.setdefault(cell.detail, []).append(place)
    return list(found.values())


def _opened_by(row: Sequence[Cell]) -> dict[int, int]:
    """Place of a cell -> the first place of its window, by which it is named."""
    return {place: places[0] for places in _windows(row) for place in places}


def _figures(row: Sequence[Cell], columns: Sequence[Column], places: Sequence[int]) -> list[tuple[str, Cell]]:
    """The cells of one window, each named by its column."""
    return [(columns[place].heading, row[place]) for place in places]


def _what_it_takes(claim: Claim) -> str:
    return "What it takes" if claim.verdict is Verdict.NOT_TESTED else "Test it again"


def _tables_of(section: Section) -> list[Table]:
    return [block for block in section.blocks if isinstance(block, Table)]


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Runs of one folder and kind; what is the same in all of several is told once."""

    name: str
    runs: tuple[Run, ...]

    def facts(self, part: str, run: Run | None = None) -> list[tuple[str, str]]:
        """Of environment, config or fingerprints what all runs share; or what is this run's own."""
        told: list[tuple[tuple[str, str], ...]] = [getattr(one, part) for one in self.runs]
        shared = set.intersection(*map(set, told)) if len(told) > 1 else set()
        own = told[0] if run is None else getattr(run, part)
        return [pair for pair in own if (pair in shared) == (run is None)]


def _run_groups(runs: Sequence[Run]) -> list[_Group]:
    """In the order in which they come: hundreds in one list are read by nobody."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(f"{run.id.split('/', 1)[0]}, {run.kind}", []).append(run)
    return [_Group(name=name, runs=tuple(own)) for name, own in groups.items()]


def _by_command(runs: Iterable[Run]) -> dict[str, list[str]]:
    """One command often made several runs: it is shown once, with the ids of them all."""
    found: dict[str, list[str]] = {}
    for run in runs:
        found.setdefault(run.command, []).append(run.id)
    return found
