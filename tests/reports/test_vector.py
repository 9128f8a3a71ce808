"""A drawing inside the page: shapes alone, ids of its own, colours of the theme."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from bench.plotting import figure_bytes, house_style
from reports.letters import Letters
from reports.vector import inline_svg

HOSTILE = b"""<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9"
 onload="alert(1)" style="background: url(https://example.invalid/x)">
 <script>alert(2)</script><style>* { fill: red }</style><metadata>m</metadata><!-- a comment -->
 <foreignObject><p xmlns="http://www.w3.org/1999/xhtml">p</p></foreignObject>
 <image href="https://example.invalid/x.png"/><a href="javascript:alert(3)"><path d="M0 0"/></a>
 <animate attributeName="href" to="javascript:alert(4)"/>
 <use xlink:href="https://example.invalid/x.svg#a"/><use href="#kept"/>
 <path id="kept" d="M0 0L9 9" onclick="alert(5)"
  style="fill: url(https://example.invalid/x#a); stroke: url(#kept); behavior: url(x); stroke-width: 2"/>
 <text>told</text></svg>"""


def drawing() -> bytes:
    with house_style() as style:
        figure = style.Figure(figsize=(3, 2))
        axes = figure.add_subplot()
        axes.bar([1, 2], [3, 4], hatch="//", label="<b>bars</b>")
        axes.legend()
        return figure_bytes(figure, "svg")


def parsed(svg: bytes, prefix: str = "f", alt: str = "alt") -> ElementTree.Element:
    return ElementTree.fromstring(inline_svg(svg, prefix, alt))


def test_what_could_act_is_left_out() -> None:
    root = parsed(HOSTILE)
    assert [element.tag for element in root.iter()] == ["svg", "use", "use", "path"]
    assert "example.invalid" not in str(inline_svg(HOSTILE, "f", "alt"))
    assert "alert" not in str(inline_svg(HOSTILE, "f", "alt"))
    away, here, path = root
    assert away.attrib == {}
    assert here.attrib == {"href": "#f.kept"}
    assert path.attrib == {"id": "f.kept", "d": "M0 0L9 9", "stroke": "url(#f.kept)", "stroke-width": "2"}


def test_a_picture_is_its_own_pixels_or_nothing() -> None:
    pixels = "data:image/png;base64,aGk=\nAAAA"
    others = ("https://example.invalid/x.png", "data:image/svg+xml;base64,aGk=", "data:text/html,x", "#kept", "")
    pictures = "".join(f'<image id="p{n}" width="3" href="{href}"/>' for n, href in enumerate((pixels, *others)))
    root = parsed(f'<svg xmlns="http://www.w3.org/2000/svg"><image width="1"/>{pictures}</svg>'.encode())
    assert [element.get("width") for element in root] == ["3"]
    assert root[0].get("href", "").startswith("data:image/png;base64,aGk=")


def test_every_name_that_a_drawing_points_to_is_its_own() -> None:
    text = str(inline_svg(drawing(), "one", "alt"))
    ids = re.findall(r' id="([^"]*)"', text)
    targets = set(re.findall(r'href="#([^"]*)"', text) + re.findall(r"url\(#([^)]*)\)", text))
    assert targets and targets <= set(ids)
    assert len(ids) == len(set(ids))
    assert all(name.startswith("one.") for name in ids)
    assert "style" not in text and "<!--" not in text


def test_ink_and_paper_follow_the_theme() -> None:
    root = parsed(drawing())
    assert root.get("fill") == "currentColor"
    black = [e for e in root.iter() if "#000000" in (e.get("fill"), e.get("stroke"))]
    white = [e for e in root.iter() if e.get("fill") == "#ffffff"]
    assert black and all(e.get("class", "").split()[0] in ("fill-ink", "stroke-ink") for e in black)
    assert white and all("fill-paper" in e.get("class", "") for e in white)


def test_it_keeps_its_proportions_and_its_label() -> None:
    root = parsed(drawing(), alt='3 < 4 & "both"')
    assert root.get("aria-label") == '3 < 4 & "both"'
    assert root.get("role") == "img"
    assert root.get("height") is None
    assert float(root.get("width", "0")) == pytest.approx(float(root.get("viewBox", "").split()[2]) * 96 / 72, abs=0.6)


@pytest.mark.parametrize("svg", [b"", b"<svg", b"<html/>", b"\x89PNG"])
def test_what_is_no_svg_is_refused(svg: bytes) -> None:
    with pytest.raises(ValueError, match="figure f: not SVG"):
        inline_svg(svg, "f", "alt")


def test_letters_are_on_a_page_once_for_all_its_drawings() -> None:
    letters = Letters()
    alone = str(inline_svg(drawing(), "a", "alt"))
    shared = [str(inline_svg(drawing(), prefix, "alt", letters)) for prefix in ("a", "b")]
    shapes = ElementTree.fromstring(letters.svg())
    ids = [shape.get("id") for shape in shapes[0]]
    assert {shape.tag for shape in shapes[0]} == {"path", "pattern"}
    assert ids and len(ids) == len(set(ids))
    told = {path.get("d") for path in shapes.iter("path")}
    assert told <= {path.get("d") for path in ElementTree.fromstring(alone).iter("path")}
    for text in shared:
        assert "DejaVu" not in text and "<pattern" not in text
        own = set(re.findall(r' id="([^"]*)"', text))
        targets = re.findall(r'href="#([^"]*)"', text) + re.findall(r"url\(#([^)]*)\)", text)
        assert set(targets) <= own | set(ids)
    assert shared[0].replace("a.", "b.") == shared[1]
    assert Letters().svg() == ""


def test_ids_that_nothing_points_to_are_not_on_the_page() -> None:
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg"><g id="a"><path id="b" d="M0 0"/><use href="#b"/></g></svg>'
    assert re.findall(r' id="([^"]*)"', inline_svg(drawing, "f", "alt")) == ["f.b"]
