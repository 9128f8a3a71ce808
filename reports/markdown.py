"""A Document as Markdown: the same tables and verdicts, with no character of the records acting as markup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from eval.mtbench.hostile import visible
from reports.document import (
    Block,
    Cell,
    Claim,
    Code,
    Column,
    Document,
    Figure,
    Ledger,
    Prose,
    Run,
    Section,
    Table,
    Verdict,
)
from reports.markdown_text import code_span, plain_text
from reports.provenance import SAMPLES_LIE

__all__ = ["markdown"]


def markdown(document: Document) -> str:
    """The report as one text, ending in a newline; figures are told by their data."""
    lines = [f"# {plain_text(document.title)}", "", plain_text(document.subtitle), ""]
    lines += [f"- {plain_text(name)}: {plain_text(value)}" for name, value in document.made_from]
    for section in document.sections:
        lines += ["", *_section(section)]
    if document.runs:
        lines += ["", "## Runs", "", SAMPLES_LIE, "", *_rows(("run", "status", "command"), map(_run, document.runs))]
    return "\n".join([*lines, ""])


def _run(run: Run) -> tuple[str, ...]:
    return code_span(run.id), plain_text(run.status), code_span(run.command)


def _section(section: Section) -> Iterator[str]:
    yield f"## {plain_text(section.title)}"
    for block in section.blocks:
        yield ""
        yield from _block(block)


def _block(block: Block) -> Iterator[str]:
    match block:
        case Prose():
            yield f"**{plain_text(block.text)}**" if block.warning else plain_text(block.text)
        case Code():
            # Indented: no run of backticks inside can end it. A line break would; there is none.
            yield f"    {visible(' '.join(block.text.split()))}"
        case Ledger():
            yield from _ledger(block)
        case Table():
            yield from _table(block)
        case Figure():
            yield f"Figure: {plain_text(block.alt)}"


def _ledger(ledger: Ledger) -> Iterator[str]:
    yield f"### {plain_text(ledger.title)}"
    yield ""
    yield plain_text(", ".join(f"{verdict.value}: {times}" for verdict, times in ledger.counts().items()))
    yield ""
    head = ("claim", "in our words", "where", "published", "measured", "verdict", "why, and what it takes")
    yield from _rows(head, map(_claim, ledger.claims))


def _claim(claim: Claim) -> tuple[str, ...]:
    published = claim.published if claim.certainty.value == "certain" else f"{claim.published} ({claim.certainty})"
    measured = "; ".join(map(_figure, claim.measured)) or "n/a"
    told = (claim.id, claim.sentence, claim.place, published, measured, claim.verdict.value, claim.why)
    *cells, why = map(plain_text, told)
    again = "" if claim.verdict is Verdict.NOT_TESTED else " again"
    return (*cells, why if claim.takes is None else f"{why} To test it{again}: {code_span(claim.takes)}")


def _table(table: Table) -> Iterator[str]:
    yield f"### {plain_text(table.title)}"
    yield ""
    yield from _rows(map(_head, table.columns), (map(_cell, row) for row in table.rows), table.columns)
    if notes := table.all_notes():
        yield ""
        yield from (f"- {plain_text(note)}" for note in notes)


def _head(column: Column) -> str:
    return plain_text(column.heading)


def _cell(cell: Cell) -> str:
    return plain_text(_figure(cell))


def _figure(cell: Cell) -> str:
    return cell.shown if cell.interval is None else f"{cell.shown} {cell.interval}"


def _rows(
    head: Iterable[str], rows: Iterable[Iterable[str]], columns: tuple[Column, ...] | None = None
) -> Iterator[str]:
    """A table of cells that are Markdown already."""
    names = list(head)
    numeric = [column.numeric for column in columns] if columns else [False] * len(names)
    yield f"| {' | '.join(names)} |"
    yield f"|{'|'.join(' ---: ' if right else ' --- ' for right in numeric)}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
