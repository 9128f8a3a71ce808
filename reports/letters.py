"""Letters and hatches, once for all drawings of a page: matplotlib writes each into every drawing that has it."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from markupsafe import Markup

__all__ = ["Letters"]

# As matplotlib names them: the font and the glyph's number in it; a hatch by the hash of its look.
_NAMES = {"path": re.compile(r"DejaVuSans(?:-[A-Za-z]+)*-[0-9a-f]+"), "pattern": re.compile(r"h[0-9a-f]{10}")}
_POINTING = ("href", "fill", "stroke")


class Letters:
    """Those of one page: ``take`` them out of each drawing, then set ``svg`` beside them."""

    def __init__(self) -> None:
        self._shapes: dict[bytes, ElementTree.Element] = {}

    def take(self, drawing: ElementTree.Element) -> None:
        """Point the drawing to the page's shapes instead of its own."""
        renamed: dict[str, str] = {}
        for parent in list(drawing.iter()):
            for shape in [child for child in parent if _shared(child)]:
                parent.remove(shape)
                own = shape.attrib.pop("id")
                kept = self._shapes.setdefault(ElementTree.tostring(shape), shape)
                kept.attrib.setdefault("id", f"l.{len(self._shapes)}")
                renamed |= {f"#{own}": f"#{kept.get('id')}", f"url(#{own})": f"url(#{kept.get('id')})"}
        for element in drawing.iter():
            for name in _POINTING:
                if (target := element.get(name, "")) in renamed:
                    element.set(name, renamed[target])

    def svg(self) -> Markup:
        """All that were taken, as an element that shows nothing by itself; nothing where none was."""
        if not self._shapes:
            return Markup("")
        root = ElementTree.Element("svg", {"class": "letters", "width": "0", "height": "0", "aria-hidden": "true"})
        ElementTree.SubElement(root, "defs").extend(self._shapes.values())
        return Markup(ElementTree.tostring(root, encoding="unicode"))


def _shared(element: ElementTree.Element) -> bool:
    name = _NAMES.get(element.tag)
    return name is not None and name.fullmatch(element.get("id", "").rsplit(".", 1)[-1]) is not None
