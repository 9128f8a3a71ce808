"""The document refuses what would mislead: ragged rows, two things of one name, verdicts on what nobody can read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reports.document import (
    Block,
    Cell,
    CellStatus,
    Certainty,
    Claim,
    Column,
    Detail,
    Document,
    Figure,
    Ledger,
    Section,
    Table,
    Verdict,
)
from tests.reports.small_report import small_report


def claim(
    verdict: Verdict, certainty: Certainty = Certainty.CERTAIN, takes: str | None = "python -m bench.speed"
) -> Claim:
    return Claim(
        id="C1",
        sentence="faster",
        place="table 3",
        published="5x",
        certainty=certainty,
        tolerance=None,
        measured=(),
        verdict=verdict,
        why="measured",
        takes=takes,
    )


def table(id: str, *cells: Cell) -> Table:
    return Table(id=id, title=id, columns=(Column(name="method"),) * len(cells), rows=(cells,))


def document(*blocks: Block) -> Document:
    section = Section(id="all", title="All", blocks=blocks)
    return Document(title="t", subtitle="s", made_from=(), sections=(section,))


def test_a_row_has_a_cell_for_every_column() -> None:
    with pytest.raises(ValueError, match="row 1 has 2 cells, not 1"):
        Table(
            id="t", title="t", columns=(Column(name="a"),), rows=((Cell(text="1"),), (Cell(text="1"), Cell(text="2")))
        )


def test_two_things_have_two_names() -> None:
    with pytest.raises(ValueError, match="'twice' stands for more than one thing"):
        document(table("twice", Cell(text="1")), table("twice", Cell(text="2")))
    with pytest.raises(ValueError, match="'all' stands for more than one thing"):
        document(table("all", Cell(text="1")))


def test_a_run_is_in_the_document_once() -> None:
    report = small_report(drawn=False)
    with pytest.raises(ValueError, match=r"run .* stands for more than one thing"):
        replace(report, runs=report.runs * 2)


LOST = Cell(text="1", detail=Detail(runs=("nowhere/speed/1",)))


@pytest.mark.parametrize(
    "block",
    [
        table("lost", LOST),
        Figure(id="drawing", title="t", svg=b"", alt="a", data=table("lost", LOST)),
        Ledger(title="L", claims=(replace(claim(Verdict.REPRODUCED), measured=(LOST,)),)),
    ],
    ids=["table", "figure", "ledger"],
)
def test_a_figure_names_no_run_that_is_not_there(block: Block) -> None:
    with pytest.raises(ValueError, match="names the run 'nowhere/speed/1'"):
        document(block)


@pytest.mark.parametrize("name", ["", "Speed", "1speed", "a.b", 'a"b', "a b"])
def test_an_id_can_stand_in_an_address(name: str) -> None:
    with pytest.raises(ValueError, match="lower case letters, digits and - expected"):
        table(name, Cell(text="1"))


@pytest.mark.parametrize("verdict", [Verdict.REPRODUCED, Verdict.NOT_REPRODUCED, Verdict.WITHIN_NOISE])
def test_what_cannot_be_read_carries_no_verdict(verdict: Verdict) -> None:
    claim(verdict, Certainty.SCANS_DISAGREE)
    with pytest.raises(ValueError, match="can carry no verdict"):
        claim(verdict, Certainty.UNCERTAIN)
    claim(Verdict.NO_VERDICT, Certainty.UNCERTAIN)


def test_an_untested_claim_says_what_testing_takes() -> None:
    with pytest.raises(ValueError, match="not said what it takes"):
        claim(Verdict.NOT_TESTED, takes=None)


def test_verdicts_are_counted_in_their_own_order() -> None:
    verdicts = [Verdict.NOT_TESTED, Verdict.REPRODUCED, Verdict.NOT_TESTED]
    counts = Ledger(title="L", claims=tuple(map(claim, verdicts))).counts()
    assert list(counts.items()) == [(Verdict.REPRODUCED, 1), (Verdict.NOT_TESTED, 2)]


@pytest.mark.parametrize(
    ("status", "text", "shown"),
    [
        (CellStatus.OK, "1.04", "1.04"),
        (CellStatus.NOISE, "1.04", "~ 1.04"),
        (CellStatus.INCOMPARABLE, "1.04", "x 1.04"),
        (CellStatus.NOT_MEASURED, "", "n/a"),
        (CellStatus.FAILED, "", "failed"),
        (CellStatus.FAILED, "oom", "oom"),
    ],
)
def test_a_mark_stands_before_its_figure(status: CellStatus, text: str, shown: str) -> None:
    assert Cell(text=text, status=status).shown == shown
