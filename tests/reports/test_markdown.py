"""Laws of the Markdown: whatever the records hold, the report is made, and none of their characters acts."""

from __future__ import annotations

import copy
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bench.record import Record
from bench.store import Store
from reports.against.both import changes
from reports.against.section import change_section
from reports.contents import report
from reports.document import Cell, Code, Column, Document, Figure, Ledger, Prose, Section, Table
from reports.markdown import markdown
from reports.reading.shelf import Shelf, read_shelf
from reports.site import page
from tests.reports.later_records import capacity, cell, compared, judge_check, pictured, preliminary
from tests.reports.small_records import chat, gradients, peak, quality, record, speed

HOSTILE = "</script><script>alert(1)</script>|<img src=x onerror=alert(1)>`[a](javascript:b)\n# \u202e\x1b[31m"
LABELS = [0, 1, 0, 1]
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
# What a report is made of: no link, picture, HTML, quotation or fence that a record could have begun.
STRUCTURE = {
    *("heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline", "text", "code_inline"),
    *("bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close", "strong_open", "strong_close"),
    *(f"{part}_{side}" for part in ("table", "thead", "tbody", "tr", "th", "td") for side in ("open", "close")),
    "code_block",
}


def seeds() -> list[Record]:
    """One record of every kind that is read."""
    times = {"full": [10.0, 11.0], "lora": [9.0, 9.5], "sparsegrad-sd": [9.0, 9.1], "sparsegrad-regular": [30.0, 31.0]}
    judged = {
        "models": [{"model": "m", "mean": {"value": 5.0, "low": 4.0, "high": 6.0, "questions": 9}, "scored": 9,
                    "attempted": 9}],
        "differences": [{"model": "m", "from": "n", "value": 0.1, "low": None, "high": None, "verdict": "~"}],
        "labels": ["unverified"],
    }  # fmt: skip
    level = {"task": "cola", "split": "validation", "base_method": "sparsegrad-planned", "kept": "1%", "share": 0.01,
             "headline": {"mean": 0.5}, "verdict": "~",
             "difference": {"mean": 0.01, "low": -0.1, "high": 0.1, "by_seed": [0.01]}}  # fmt: skip
    return [
        speed(times),
        peak("full", 1000),
        peak("lora", 900),
        record("calibration", result={"calibration_s": 3.0, "steps": 30, "basis": "shared", "peak_bytes": 5}),
        quality("full", 0, LABELS, LABELS),
        quality("lora", 0, [1, 1, 0, 1], LABELS),
        gradients({"none": [0.3, 0.3], "shared": [0.6, 0.7], "per-block": [0.6, 0.7]}),
        record("mtbench", config={"judge": "j"}, result=judged),
        record("weather", result={"rain_mm": 1.0}),
        chat("full", [1.0, 2.0, 4.0]),
        chat("lora", [1.1, 2.2, 4.1]),
        record("sparsity_quality", result={"rows": [level], "synthetic": False, "verdicts": []}),
        capacity("full", 8),
        cell({"planned": 1.5}),
        preliminary("streamed", seconds=9.0, peak=1000, stack=9000),
        compared(),
        judge_check(),
        pictured(key="pictured"),
        record("gradients_supports", result={"rows": []}),
    ]


def written(folder: Path, records: list[Record]) -> Shelf:
    for made in records:
        Store(folder).write(made)
    return read_shelf([folder])


def document(shelf: Shelf) -> Document:
    return report(shelf, folders=["results"], logs=None, more=[change_section(changes(shelf, shelf), before="results")])


class Elements(HTMLParser):
    """What a browser would make of the page that could act: elements, and attributes that run or load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "img", "iframe", "object"):
            self.found.append(tag)
        self.found += [f"{tag} {name}" for name, value in attrs if name.startswith("on") or _loads(name, value)]


def _loads(name: str, value: str | None) -> bool:
    return name in ("href", "src", "action") and not (value or "").startswith(("#", "data:"))


def harmless(made: Document) -> None:
    text = markdown(made)
    assert text.isprintable() or not [c for c in text if not c.isprintable() and c != "\n"]
    parsed = [inner for token in PARSER.parse(text) for inner in (token, *(token.children or []))]
    assert {token.type for token in parsed if not token.hidden} <= STRUCTURE
    text.encode()
    shown = page(made)
    shown.encode()
    assert Elements(shown).found == ["script"]  # the page's own


def test_a_report_of_every_kind(tmp_path: Path) -> None:
    shelf = written(tmp_path, seeds())
    assert shelf.skipped == [] and len(shelf.sources) == len(seeds())
    made = document(shelf)
    harmless(made)
    text = markdown(made)
    for title in ("Speed", "Memory and setup", "Gradients", "Quality", "Judged answers", "Other records",
                  "Before and after"):  # fmt: skip
        assert f"\n## {title}\n" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)


def test_every_row_has_its_tables_width() -> None:
    columns = (Column(name="a|b"), Column(name="c", numeric=True, unit="ms"))
    cells = (Cell(text="x|y\nz"), Cell(text="1.0", interval="[0.9, 1.1]"))
    table = Table(id="t", title="T", columns=columns, rows=(cells,), notes=("n",))
    text = markdown(
        Document(title="D", subtitle="S", made_from=(), sections=(Section(id="s", title="S", blocks=(table,)),))
    )
    assert "| a&#124;b | c, ms |\n| --- | ---: |\n| x&#124;y z | 1.0 [0.9, 1.1] |\n" in text


def test_code_is_one_indented_line() -> None:
    section = Section(id="s", title="S", blocks=(Prose(text="p"), Code(text="python x\n# `y`")))
    assert "\n\n    python x # `y`\n" in markdown(Document(title="D", subtitle="S", made_from=(), sections=(section,)))


def strings(value: Any) -> Any:
    """The same with every string inside made hostile, names of fields left."""
    if isinstance(value, str):
        return HOSTILE + value
    if isinstance(value, list):
        return [strings(item) for item in value]
    if isinstance(value, dict):
        return {name: strings(item) for name, item in value.items()}
    return value


def test_html_in_every_string_reaches_neither_page_nor_markdown(tmp_path: Path) -> None:
    kept = ("ok", "tracked", "full", "lora", "reported")
    records = []
    for number, made in enumerate(seeds()):
        config = {
            **strings(made.config),
            **{n: v for n, v in made.config.items() if v in kept or n in ("task", "method")},
        }
        told = replace(made, key=f"h{number}", config=config, environment=strings(made.environment), command=HOSTILE)
        records += [replace(told, result=strings(made.result)), replace(told, key=f"c{number}")]
    shelf = written(tmp_path, records)
    (tmp_path / "weather" / "<img src=x onerror=alert(1)>.json").write_text("{")
    assert len(shelf.sources) >= len(seeds())
    harmless(document(read_shelf([tmp_path])))


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.just(HOSTILE),
    st.just([]),
    st.just({}),
    st.just([[1]]),
    st.just("\ud800"),
)


@pytest.mark.slow
@settings(max_examples=40)
@given(kind=st.integers(0, len(seeds()) - 1), odd=ODD, where=st.data())
def test_a_wrong_value_anywhere_never_stops_the_report(kind: int, odd: Any, where: st.DataObject) -> None:
    records = seeds()
    made = copy.deepcopy(records[kind])
    parts = {"result": made.result, "config": made.config, "environment": made.environment}
    place: Any = parts[where.draw(st.sampled_from(sorted(parts)))]
    while isinstance(place, dict | list) and place:
        names = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        name = where.draw(st.sampled_from(names))
        if not isinstance(place[name], dict | list) or not place[name] or where.draw(st.booleans()):
            place[name] = copy.deepcopy(odd)
            break
        place = place[name]
    with TemporaryDirectory() as folder:
        others = [one for place, one in enumerate(records) if place != kind and one.kind == made.kind]
        shelf = written(Path(folder), [*others, made])
        assert len(shelf.sources) + len(shelf.skipped) >= len(others) + 1  # shown, or listed with its reason
        harmless(document(shelf))


@pytest.mark.slow
@settings(max_examples=20)
@given(kind=st.integers(0, len(seeds()) - 1), cut=st.integers(0, 4000))
def test_a_cut_record_never_stops_the_report(kind: int, cut: int) -> None:
    with TemporaryDirectory() as folder:
        own = [made for made in seeds() if made.kind == seeds()[kind].kind]
        path = next(iter([Store(Path(folder)).write(made) for made in own]))
        text = path.read_text()
        path.write_text(text[: cut % (len(text) - 2)])
        shelf = read_shelf([Path(folder)])
        assert len(shelf.skipped) == 1
        harmless(document(shelf))


def test_the_ledger_and_figures_are_told() -> None:
    claim = Ledger(title="L", claims=())
    columns = (Column(name="a"),)
    data = Table(id="d", title="D", columns=columns, rows=())
    figure = Figure(id="f", title="F", svg=b"<svg/>", alt="what it shows", data=data)
    section = Section(id="s", title="S", blocks=(claim, figure))
    text = markdown(Document(title="D", subtitle="S", made_from=(), sections=(section,)))
    assert "\n\nFigure: what it shows\n" in text
