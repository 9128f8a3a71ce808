"""``python -m reports``: records in, one HTML page and Markdown out; the paper's ledger first."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from bench.cli import DONE, FAILED, Parser, run, say
from bench.errors import BadRequest
from bench.store import Store
from eval.mtbench.filing import write_report
from eval.mtbench.hostile import visible
from reports.against.both import changes
from reports.against.change import Change
from reports.against.section import change_section
from reports.contents import report
from reports.document import Document, Figure, Ledger, Section
from reports.foreign.recognise import foreign_section, read_foreign
from reports.glance import PICTURES
from reports.markdown import markdown
from reports.paper.authors import Logs, read_logs
from reports.reading.shelf import Shelf, read_shelf

PROG = "reports"
_LOGS = "authors_runs.csv"


def parser() -> Parser:
    """The command line."""
    made = Parser(
        prog=PROG,
        description=(
            "Make one self-contained HTML page and the same as Markdown from records: the paper's claims with their\n"
            "verdicts, the paper's tables beside what was measured, every figure with its samples and its command.\n"
            "No model is run. With --against it exits 1 where something got worse by more than the noise."
        ),
        example="python -m reports --results results reports/published --out results/report",
    )
    group = made.add_argument_group("what is read")
    group.add_argument("--results", type=Path, nargs="+", default=[Path("results")], metavar="DIR", help="folders of "
                       "records, or of such folders (default: results)")  # fmt: skip
    group.add_argument("--against", type=Path, metavar="DIR", help="earlier results: each figure before and after; "
                       "exit 1 on a loss beyond the noise (default: none)")  # fmt: skip
    group.add_argument("--import", dest="foreign", type=Path, nargs="+", default=[], metavar="FILE", help="others' "
                       "results, shown as such: PEFT's method-comparison JSON, FastChat's single-answer judgments, the "
                       "authors' logs as CSV (default: none)")  # fmt: skip
    group.add_argument("--authors-runs", type=Path, metavar="FILE", help="the authors' GLUE logs as CSV, which the "
                       "ledger compares with the paper (default: authors_runs.csv in a folder of --results, if "
                       "there)")  # fmt: skip
    group = made.add_argument_group("run")
    group.add_argument("--out", type=Path, default=Path("results/report"), metavar="DIR", help="folder of report.html, "
                       "report.md and two drawings (default: %(default)s)")  # fmt: skip
    group.add_argument("--dry-run", action="store_true", help="say what would be read and written, and write nothing")
    group.add_argument("--json", action="store_true", help="ledger, changes and files left out as one JSON object on "
                       "stdout")  # fmt: skip
    group.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return made


def main(argv: Sequence[str]) -> int:
    """Read, compare, write, print; returns the exit code."""
    args = parser().parse_args(argv)
    shelf = _shelf(args.results)
    before = None if args.against is None else _shelf([args.against])
    found = [] if before is None else changes(before, shelf)
    logs = _logs(args.authors_runs, args.results)
    sections = _sections(args, before, found)
    if args.dry_run:
        return _dry_run(args, shelf)
    say(f"{PROG}: {len(shelf.sources)} records read, {len(shelf.skipped)} left out", quiet=args.quiet)
    document = report(shelf, folders=[path.name or str(path) for path in args.results], logs=logs,
                      more=sections, before=before)  # fmt: skip
    from reports.site import page

    store = Store.open(args.out)  # refuses in one line a folder that cannot be written to
    files = {"report.md": _bytes(markdown(document)), "report.html": _bytes(page(document)), **_pictures(document)}
    write_report(store.folder, files)
    places = [str(args.out / name) for name in files]
    if args.json:
        print(json.dumps(_told(shelf, document, found, places), indent=2, allow_nan=False))
    else:
        _print(args, shelf, document, found, places)
    return FAILED if any(change.regression for change in found) else DONE


def _shelf(folders: Sequence[Path]) -> Shelf:
    """What the folders hold; BadRequest where there is nothing to report."""
    shelf = read_shelf(folders)
    if not shelf.sources:
        told = ", ".join(repr(str(folder)) for folder in folders)
        left = f", {len(shelf.skipped)} files could not be read" if shelf.skipped else ""
        raise BadRequest(f"no record in {told}{left}; measure first: python -m bench.speed, or give --results DIR")
    return shelf


def _logs(given: Path | None, folders: Sequence[Path]) -> Logs | None:
    """The authors' logs, where they are given or lie beside the records."""
    place = given or next((path for folder in folders if (path := folder / _LOGS).is_file()), None)
    return None if place is None else read_logs(place)


def _sections(args: argparse.Namespace, before: Shelf | None, found: Sequence[Change]) -> list[Section]:
    made = [] if before is None else [change_section(found, before=args.against.name)]
    return made + ([foreign_section([read_foreign(path) for path in args.foreign])] if args.foreign else [])


def _pictures(document: Document) -> dict[str, bytes]:
    """The drawings at its top as files, for a README or a talk."""
    drawn = [block for block in document.blocks() if isinstance(block, Figure)]
    return {f"{figure.id}.svg": figure.svg for figure in drawn if figure.id in PICTURES}


def _ledgers(document: Document) -> list[Ledger]:
    return [block for block in document.blocks() if isinstance(block, Ledger)]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _dry_run(args: argparse.Namespace, shelf: Shelf) -> int:
    """Nothing is written; reading is all that was done."""
    told = {
        "records": len(shelf.sources),
        "left_out": len(shelf.skipped),
        "would_write": [
            str(args.out / name) for name in ("report.md", "report.html", *(f"{id}.svg" for id in PICTURES))
        ],
        "seconds": "a few, and about one a compared method of each fine-tuned task",
    }
    print(json.dumps(told, indent=2) if args.json else "\n".join(f"{name}: {it}" for name, it in told.items()))
    return DONE


def _told(shelf: Shelf, document: Document, found: Sequence[Change], places: list[str]) -> dict[str, Any]:
    """The result for scripts."""
    return {
        "ledger": [
            {
                "id": claim.id,
                "sentence": claim.sentence,
                "published": claim.published,
                "certainty": claim.certainty.value,
                "verdict": claim.verdict.value,
                "why": claim.why,
                "takes": claim.takes,
            }
            for ledger in _ledgers(document)
            for claim in ledger.claims
        ],
        "changes": [change.as_json() for change in found],
        "records": len(shelf.sources),
        "left_out": [{"path": one.path, "reason": one.reason} for one in shelf.skipped],
        "files": places,
    }


def _print(
    args: argparse.Namespace, shelf: Shelf, document: Document, found: Sequence[Change], places: list[str]
) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140)

    def line(text: str) -> None:
        console.print(Text(visible(text)), soft_wrap=True)

    for ledger in _ledgers(document):
        line(f"{ledger.title}: " + ", ".join(f"{times} {verdict.value}" for verdict, times in ledger.counts().items()))
    for change in found:
        if change.told != "~":
            line(change.line())
    if args.against is not None:
        line(f"against {args.against}: {len(found)} figures compared, {sum(c.regression for c in found)} got worse")
    if shelf.skipped:
        line(f"left out: {len(shelf.skipped)} files, named in the report")
    line(f"report: {', '.join(places)}")


if __name__ == "__main__":
    run(main, PROG)
