"""A Document as Markdown: the same tables and verdicts, with no character of the records acting as markup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from eval.mtbench.hostile import markdown_cell, visible
from reports.document import Block, Cell, Claim, Code, Column, Document, Figure, Ledger, Prose, Section, Table

__all__ = ["markdown"]


def markdown(document: Document) -> str:
    """The report as one text, ending in a newline; figures are told by their data."""
    lines = [f"# {_text(document.title)}", "", _text(document.subtitle), ""]
    lines += [f"- {_text(name)}: {_text(value)}" for name, value in document.made_from]
    for section in document.sections:
        lines += ["", *_section(section)]
    if document.runs:
        lines += ["", "## Runs", "", *_rows(("run", "status", "command"), _runs(document))]
    return "\n".join([*lines, ""])


def _runs(document: Document) -> Iterator[tuple[str, ...]]:
    for run in document.runs:
        yield run.id, run.status, run.command


def _section(section: Section) -> Iterator[str]:
    yield f"## {_text(section.title)}"
    for block in section.blocks:
        yield ""
        yield from _block(block)


def _block(block: Block) -> Iterator[str]:
    match block:
        case Prose():
            yield f"**{_text(block.text)}**" if block.warning else _text(block.text)
        case Code():
            # Indented: no run of backticks inside can end it. A line break would; there is none.
            yield f"    {_one_line(block.text)}"
        case Ledger():
            yield from _ledger(block)
        case Table():
            yield from _table(block)
        case Figure():
            yield f"Figure: {_text(block.alt)}"


def _ledger(ledger: Ledger) -> Iterator[str]:
    counts = ", ".join(f"{verdict.value}: {times}" for verdict, times in ledger.counts().items())
    yield _text(counts)
    yield ""
    head = ("claim", "in our words", "where", "published", "measured", "verdict", "why, and what it takes")
    yield from _rows(head, map(_claim, ledger.claims))


def _claim(claim: Claim) -> tuple[str, ...]:
    published = claim.published if claim.certainty.value == "certain" else f"{claim.published} ({claim.certainty})"
    measured = "; ".join(_cell(cell) for cell in claim.measured) or "n/a"
    why = claim.why if claim.takes is None else f"{claim.why} To test it: {claim.takes}"
    return claim.id, claim.sentence, claim.place, published, measured, claim.verdict.value, why


def _table(table: Table) -> Iterator[str]:
    yield f"### {_text(table.title)}"
    yield ""
    yield from _rows(map(_head, table.columns), (map(_cell, row) for row in table.rows), table.columns)
    if table.notes:
        yield ""
        yield from (f"- {_text(note)}" for note in table.notes)


def _head(column: Column) -> str:
    return column.name if column.unit is None else f"{column.name}, {column.unit}"


def _cell(cell: Cell) -> str:
    return cell.shown if cell.interval is None else f"{cell.shown} {cell.interval}"


def _rows(
    head: Iterable[str], rows: Iterable[Iterable[str]], columns: tuple[Column, ...] | None = None
) -> Iterator[str]:
    names = [_text(name) for name in head]
    numeric = [column.numeric for column in columns] if columns else [False] * len(names)
    yield f"| {' | '.join(names)} |"
    yield f"|{'|'.join(' ---: ' if right else ' --- ' for right in numeric)}|"
    for row in rows:
        yield f"| {' | '.join(map(_text, row))} |"


def _text(text: str) -> str:
    return markdown_cell(" ".join(text.split()))


def _one_line(text: str) -> str:
    return visible(" ".join(text.split()))
