"""What a report says, before anyone decides how it looks: immutable values that Markdown and HTML both render.

Every string is plain text, hostile or not: escaping is the renderer's work, and nothing here is markup.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "Block",
    "Cell",
    "CellStatus",
    "Certainty",
    "Claim",
    "Code",
    "Column",
    "Detail",
    "Document",
    "Figure",
    "Ledger",
    "Prose",
    "Run",
    "Samples",
    "Section",
    "Table",
    "Verdict",
]

_ID = re.compile(r"[a-z][a-z0-9-]*")


class CellStatus(StrEnum):
    """What a cell's figure is; the values are what people see where there is no figure."""

    OK = "ok"
    NOISE = "~"  # measured, but not told apart from noise
    INCOMPARABLE = "x"  # measured elsewhere or otherwise: no comparison
    NOT_MEASURED = "n/a"
    FAILED = "failed"


class Verdict(StrEnum):
    """What the measurements say of a claim."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    WITHIN_NOISE = "within noise"
    NOT_TESTED = "not tested here"
    NO_VERDICT = "no verdict"  # the published value itself is uncertain


class Certainty(StrEnum):
    """How surely the published value is read."""

    CERTAIN = "certain"
    PLACES_DISAGREE = "the paper says both"
    SCANS_DISAGREE = "scans disagree"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, kw_only=True)
class Samples:
    """One series of raw measurements, in the order in which they were taken."""

    name: str
    unit: str
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Detail:
    """What stands behind one figure: the runs it comes from and the raw samples it was computed from."""

    runs: tuple[str, ...]
    """Ids of `Document.runs`: command, environment and provenance are told there once."""
    samples: tuple[Samples, ...] = ()
    note: str | None = None
    """How the figure follows from the samples, in a sentence."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One place of a table."""

    text: str
    """As people read it; the unit stands in the column. Empty or not, a cell without a figure shows its status."""
    sort: float | str | None = None
    """What rows are ordered by; None comes last in either direction. A text cell is ordered by its text."""
    status: CellStatus = CellStatus.OK
    interval: str | None = None
    """The 95% CI beside the figure: ``[1.58, 1.66]``."""
    reason: str | None = None
    """Why there is no figure, or what the mark means, in a line."""
    detail: Detail | None = None

    @property
    def shown(self) -> str:
        """The text with its mark: ``~ 1.04``, ``n/a``, ``failed``."""
        if self.status in (CellStatus.NOT_MEASURED, CellStatus.FAILED):
            return self.text or self.status.value
        return self.text if self.status is CellStatus.OK else f"{self.status.value} {self.text}"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column's head."""

    name: str
    unit: str | None = None
    numeric: bool = False
    """Set to the right in figures of one width, and ordered by `Cell.sort`."""
    note: str | None = None
    """What is in it, and which direction is better."""

    @property
    def heading(self) -> str:
        """Name and unit."""
        return self.name if self.unit is None else f"{self.name}, {self.unit}"


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns and rows; ValueError where a row has not a cell for every column."""

    id: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    folded: bool = False
    """Of use to few: its title is there, the rest one click away."""

    def __post_init__(self) -> None:
        _check_id(self.id)
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.id}: row {number} has {len(row)} cells, not {len(self.columns)}")

    def all_notes(self) -> tuple[str, ...]:
        """The notes, and what is in the columns: a reader on paper or a phone sees no other word of it."""
        told = "; ".join(f"{column.heading}: {column.note}" for column in self.columns if column.note)
        return (*self.notes, f"Columns. {told}.") if told else self.notes


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing and the figures it was drawn from."""

    id: str
    title: str
    svg: bytes
    alt: str
    """What a reader who cannot see it has to know: what is drawn, and what it shows."""
    data: Table
    notes: tuple[str, ...] = ()
    wide: bool = False
    """Too wide for a phone: it scrolls there inside its place, as tables do."""

    def __post_init__(self) -> None:
        _check_id(self.id)


@dataclass(frozen=True, kw_only=True)
class Prose:
    """One paragraph."""

    text: str
    warning: bool = False
    """To be seen before the figures are believed."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """Something to type."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One row of the ledger: what the paper says, what was measured, and what follows.

    Raises ValueError for a verdict on a value whose reading is uncertain, and for an untested claim that does not
    say what testing it takes.
    """

    id: str
    """C1, T4-sst2...: the plan's name of it."""
    sentence: str
    """In our words."""
    place: str
    """Table or section of the paper."""
    published: str
    certainty: Certainty
    tolerance: str | None
    """What counts as agreement."""
    measured: tuple[Cell, ...]
    """One for each setting it was measured in; the cell's reason names the setting."""
    verdict: Verdict
    why: str
    """How the verdict follows from the measurements."""
    takes: str | None = None
    """What would test it, or test it better: a command to type."""

    def __post_init__(self) -> None:
        judged = self.verdict in (Verdict.REPRODUCED, Verdict.NOT_REPRODUCED, Verdict.WITHIN_NOISE)
        if judged and self.certainty is Certainty.UNCERTAIN:
            raise ValueError(f"claim {self.id}: the published value is uncertain and can carry no verdict")
        if self.verdict is Verdict.NOT_TESTED and not self.takes:
            raise ValueError(f"claim {self.id}: not tested, and not said what it takes")


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Claims with their verdicts."""

    title: str
    claims: tuple[Claim, ...]

    def counts(self) -> dict[Verdict, int]:
        """How many claims have each verdict; verdicts that none has are left out."""
        found = Counter(claim.verdict for claim in self.claims)
        return {verdict: found[verdict] for verdict in Verdict if found[verdict]}


Block = Prose | Code | Table | Figure | Ledger


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what stands below it."""

    id: str
    title: str
    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        _check_id(self.id)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One record, as provenance."""

    id: str
    """Unique in the document: folder, kind, key and start."""
    kind: str
    status: str
    reason: str | None
    command: str
    """What to type to run it again."""
    seed: int
    started: str
    ended: str
    environment: tuple[tuple[str, str], ...]
    """Names (dotted where nested) and values."""
    config: tuple[tuple[str, str], ...]
    fingerprints: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Document:
    """The whole report.

    Raises ValueError where two sections, tables, figures or runs share an id, and where a cell names a run that is
    not among `runs`.
    """

    title: str
    subtitle: str
    made_from: tuple[tuple[str, str], ...]
    """Provenance of the report itself: folders, how many records, from when to when, which code."""
    sections: tuple[Section, ...]
    runs: tuple[Run, ...] = ()

    def __post_init__(self) -> None:
        ids = [section.id for section in self.sections]
        ids += [block.id for block in self.blocks() if isinstance(block, Table | Figure)]
        ids += [block.data.id for block in self.blocks() if isinstance(block, Figure)]
        for what, names in (("id", ids), ("run", [run.id for run in self.runs])):
            if twice := sorted(name for name, times in Counter(names).items() if times > 1):
                raise ValueError(f"{what} {twice[0]!r:.80} stands for more than one thing")
        known = {run.id for run in self.runs}
        for cell in self.cells():
            if cell.detail is not None and (unknown := set(cell.detail.runs) - known):
                raise ValueError(f"a cell names the run {min(unknown)!r:.80}, which the document does not hold")

    def blocks(self) -> Iterator[Block]:
        """Every block of every section, in order."""
        for section in self.sections:
            yield from section.blocks

    def cells(self) -> Iterator[Cell]:
        """Every cell: of tables, of the data behind figures, of the ledger."""
        for block in self.blocks():
            if isinstance(block, Ledger):
                for claim in block.claims:
                    yield from claim.measured
            elif isinstance(block, Table | Figure):
                for row in (block if isinstance(block, Table) else block.data).rows:
                    yield from row


def _check_id(name: str) -> None:
    if not _ID.fullmatch(name):
        raise ValueError(f"id: lower case letters, digits and - expected, got {name!r:.60}")
