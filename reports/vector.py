"""A drawing made fit for the inside of a page: only shapes, names that meet no other drawing's, colours of the theme.

matplotlib writes ``style`` attributes and a style sheet, which the page's policy forbids, and ids that repeat from
drawing to drawing. Styles become presentation attributes, ids get a prefix, and what is not on the lists is dropped,
so that a drawing can neither run, fetch nor restyle anything. Its pictures are the pixels that it carries.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from markupsafe import Markup

from reports.letters import Letters

__all__ = ["inline_svg"]

_SHAPES = {
    *("svg", "g", "defs", "use", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon"),
    *("clipPath", "pattern", "image"),
}
_PAINT = {
    *("fill", "fill-opacity", "fill-rule", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray"),
    *("stroke-dashoffset", "stroke-linejoin", "stroke-linecap", "stroke-miterlimit", "opacity", "clip-path"),
}
_PLACE = {
    *("id", "d", "x", "y", "width", "height", "cx", "cy", "r", "rx", "ry", "x1", "y1", "x2", "y2", "points"),
    *("transform", "viewBox", "href", "clip-rule", "patternUnits", "patternTransform"),
}
# The style of bench.plotting, told as parts of the page: ink and paper follow its theme.
_INK, _PAPER, _RULE = "#000000", "#ffffff", "#dddddd"
_POINT_PX = 96 / 72  # CSS: 96 px and 72 pt an inch
# The one kind of picture: pixels that the page itself carries.
_PIXELS = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=\s]+")
# Of a point, 1/72 inch: nothing finer can be seen.
_FINER = re.compile(r"(\.[0-9]{2})[0-9]+")
_DRAWN = ("d", "points", "x", "y")
_LOCAL = re.compile(r"url\(\s*[\"']?#([^)\"']+)[\"']?\s*\)")


def inline_svg(svg: bytes, prefix: str, alt: str, letters: Letters | None = None) -> Markup:
    """``svg`` as an element for an HTML page, its ids prefixed, ``alt`` as its label; ValueError where it is no SVG.

    ``letters``: those of the page, which the drawing shares from now on.
    """
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise ValueError(f"figure {prefix}: not SVG: {error}") from error
    if _bare(root.tag) != "svg":
        raise ValueError(f"figure {prefix}: not SVG: its root is {_bare(root.tag)}")
    kept = _kept(root, prefix)
    assert kept is not None  # the root is a shape
    for side in ("width", "height"):
        kept.attrib.pop(side, None)
    if (width := root.get("width", "")).endswith("pt"):
        kept.set("width", f"{float(width[:-2]) * _POINT_PX:.0f}")
    if letters is not None:
        letters.take(kept)
    _forget_unused_ids(kept)
    kept.attrib |= {"role": "img", "aria-label": alt, "fill": "currentColor"}
    return Markup(ElementTree.tostring(kept, encoding="unicode"))


def _forget_unused_ids(root: ElementTree.Element) -> None:
    """matplotlib names every group; what nothing points to is a tenth of a drawing's bytes."""
    used = {
        target.removeprefix("#")
        for element in root.iter()
        for name, value in element.attrib.items()
        if name != "id"
        for target in (value, *_LOCAL.findall(value))
    }
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)


def _kept(element: ElementTree.Element, prefix: str) -> ElementTree.Element | None:
    """The element with what the lists allow of it; None where it is none of the shapes."""
    tag = _bare(element.tag)
    if tag not in _SHAPES:
        return None
    kept = ElementTree.Element(tag)
    written = {_bare(name): value for name, value in element.attrib.items()}
    for name, value in {**written, **_declarations(written.get("style", ""))}.items():
        _set(kept, name, value.strip(), prefix)
    kept.extend(child for child in (_kept(child, prefix) for child in element) if child is not None)
    return None if tag == "image" and "href" not in kept.attrib else kept


def _set(kept: ElementTree.Element, name: str, value: str, prefix: str) -> None:
    if name not in _PAINT | _PLACE:
        return
    if name == "id":
        value = f"{prefix}.{value}"
    elif name == "href":
        if (address := _address(kept.tag, value, prefix)) is None:
            return
        value = address
    elif "(" in value and name in _PAINT:
        if (target := _LOCAL.fullmatch(value)) is None:
            return
        value = f"url(#{prefix}.{target[1]})"
    elif name in ("fill", "stroke") and value.lower() in (_INK, _PAPER, _RULE):
        part = {_INK: "ink", _PAPER: "paper", _RULE: "rule"}[value.lower()]
        kept.set("class", f"{kept.get('class', '')} {name}-{part}".strip())
    kept.set(name, _FINER.sub(r"\1", value) if name in _DRAWN else value)


def _address(tag: str, value: str, prefix: str) -> str | None:
    """A place in the drawing, or of an image the pixels that it carries; None for any other."""
    if tag == "image":
        return value if _PIXELS.fullmatch(value) else None
    return f"#{prefix}.{value[1:]}" if value.startswith("#") else None


def _declarations(style: str) -> dict[str, str]:
    pairs = (declaration.split(":", 1) for declaration in style.split(";") if ":" in declaration)
    return {name.strip(): value.strip() for name, value in pairs}


def _bare(name: object) -> str:
    """A name without its namespace; comments and instructions have none."""
    return name.rsplit("}", 1)[-1] if isinstance(name, str) else ""
