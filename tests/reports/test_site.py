"""The page as text: whatever the strings are, the elements are the same; one file, and colours that can be read."""

from __future__ import annotations

import base64
import hashlib
import html
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.mtbench.hostile import visible
from reports.document import Cell, Column, Document, Section, Table
from reports.site import page
from tests.reports.small_report import same, small_report

TEMPLATES = Path(__file__).resolve().parents[2] / "reports" / "templates"
HOSTILE = (
    "<script>alert(1)</script>",
    "</script></style></title><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)' autofocus='",
    "--><svg/onload=alert(1)>",
    "{{ 7 * 7 }}{% include 'page.css' %}",
    "&lt;b&gt;&amp;",
    "javascript:alert(1)",
    "]]><x>",
    "\u2028\u2029\u202e\x00\x1b[31m\ud800",
)


class Skeleton(HTMLParser):
    """Elements and attribute names, and the text between; a drawing counts as one element: its letters are shapes."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, ...]] = []
        self.words: list[str] = []
        self.drawing = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if not self.drawing:
            self.elements.append((tag, *(name for name, _ in attributes)))
            self.words += [value or "" for _, value in attributes]
        self.drawing += tag == "svg"

    def handle_endtag(self, tag: str) -> None:
        self.drawing -= tag == "svg"
        if not self.drawing:
            self.elements.append((f"/{tag}",))

    def handle_data(self, text: str) -> None:
        self.words.append(text)


PLAIN = Skeleton(page(small_report(drawn=False)))


def check_nothing_acts(text: str) -> None:
    """The page that says this everywhere has the elements and attributes of the page that says plain words."""
    written = page(small_report(lambda _: text, drawn=False))
    written.encode("utf-8")
    hostile = Skeleton(written)
    assert hostile.elements == PLAIN.elements
    assert visible(text).replace("\r", "\n") in hostile.words


@pytest.mark.parametrize("text", HOSTILE)
def test_no_string_leaves_its_place(text: str) -> None:
    check_nothing_acts(text)


@given(st.text(min_size=1, max_size=60) | st.lists(st.sampled_from("<>\"'&/=-!{}%# \n"), min_size=1).map("".join))
def test_no_string_whatever_leaves_its_place(text: str) -> None:
    check_nothing_acts(text)


@pytest.mark.parametrize("text", HOSTILE[:3])
def test_nor_does_one_in_a_drawing(text: str) -> None:
    plain, hostile = (Skeleton(page(small_report(say))) for say in (same, lambda word: f"{word} {text}"))
    assert hostile.elements == plain.elements


def test_the_policy_names_the_script_and_the_style_that_are_there() -> None:
    written = page(small_report(drawn=False))
    policy = html.unescape(re.findall(r'Content-Security-Policy" content="([^"]*)"', written)[0])
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for name, element in (("style", "style"), ("script", "script")):
        (inside,) = re.findall(rf"<{element}>(.*?)</{element}>", written, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert not re.search(r"\bstyle=|\bon[a-z]+=", re.sub(r"<(style|script)>.*?</\1>", "", written, flags=re.DOTALL))


def test_every_address_is_inside_the_page() -> None:
    written = page(small_report())
    ids = re.findall(r'\bid="([^"]*)"', written)
    assert len(ids) == len(set(ids))
    for name in ("href", "popovertarget", "aria-labelledby"):
        for target in re.findall(rf'\b{name}="([^"]*)"', written):
            assert target == "data:," or target.removeprefix("#") in ids
    assert not re.search(r"\bsrc=|@import|url\((?!#)", written)


def test_every_figure_of_the_document_is_on_the_page() -> None:
    report = small_report(drawn=False)
    words = " ".join(Skeleton(page(report)).words)
    for cell in report.cells():
        assert cell.shown in words
        assert cell.interval is None or cell.interval in words
        for samples in cell.detail.samples if cell.detail else ():
            assert all(f"{value:.6g}" in words for value in samples.values)


@pytest.mark.parametrize(
    ("sort", "numeric", "told"),
    [
        (1.5, True, ' data-sort="1.5"'),
        (None, True, ' data-sort=""'),
        (None, False, ""),
        (math.nan, True, ' data-sort=""'),
        (math.inf, True, ' data-sort=""'),
        ('a"b', False, ' data-sort="a&#34;b"'),
    ],
)
def test_what_is_not_measured_has_no_place_in_the_order(sort: float | str | None, numeric: bool, told: str) -> None:
    column, cell = Column(name="speed", numeric=numeric), Cell(text="shown", sort=sort)
    table = Table(id="t", title="t", columns=(column,), rows=((cell,),))
    report = Document(title="t", subtitle="s", made_from=(), sections=(Section(id="s", title="s", blocks=(table,)),))
    opening = re.findall(r'<th scope="row" class="\w+"([^>]*)>', page(report))
    assert opening == [told]


def test_an_empty_document_is_a_page() -> None:
    assert "None." in page(Document(title="t", subtitle="s", made_from=(), sections=()))


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    channels = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "raised"])
def test_every_colour_of_text_can_be_read(theme: int, ground: str) -> None:
    style = (TEMPLATES / "page.css").read_text()
    colours = {
        name: both.split(", ")[theme] for name, both in re.findall(r"--(\w+): light-dark\((#\w{6}, #\w{6})\);", style)
    }
    assert colours.keys() >= {"ink", "soft", "link", "good", "bad", "unsure", ground}
    for name in colours.keys() - {"paper", "raised", "rule"}:
        darker, lighter = sorted((luminance(colours[name]), luminance(colours[ground])))
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, name  # level AA


def test_the_script_stays_small_and_without_markup() -> None:
    script = (TEMPLATES / "page.js").read_text()
    assert script.count("\n") <= 150
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|fetch\(|XMLHttpRequest", script
    )
    assert "\r" not in script and "</" not in script
