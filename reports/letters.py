"""The shapes of letters, once for all drawings of a page: matplotlib writes each into every drawing that has it."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from markupsafe import Markup

__all__ = ["Letters"]

# As matplotlib names them: the font, and the glyph's number in it.
_NAME = re.compile(r"DejaVuSans(?:-[A-Za-z]+)*-[0-9a-f]+")
Shape = tuple[tuple[str, str], ...]


class Letters:
    """Those of one page: ``take`` them out of each drawing, then set ``svg`` beside them."""

    def __init__(self) -> None:
        self._names: dict[Shape, str] = {}

    def take(self, drawing: ElementTree.Element) -> None:
        """Point the drawing to the page's letters instead of its own."""
        renamed: dict[str, str] = {}
        for parent in list(drawing.iter()):
            for path in [child for child in parent if child.tag == "path"]:
                if _NAME.fullmatch(path.get("id", "").rsplit(".", 1)[-1]):
                    shape = tuple((key, value) for key, value in sorted(path.attrib.items()) if key != "id")
                    renamed[f"#{path.get('id')}"] = f"#{self._names.setdefault(shape, f'l.{len(self._names)}')}"
                    parent.remove(path)
        for use in drawing.iter("use"):
            if (href := use.get("href", "")) in renamed:
                use.set("href", renamed[href])

    def svg(self) -> Markup:
        """All that were taken, as an element that shows nothing by itself; nothing where none was."""
        if not self._names:
            return Markup("")
        root = ElementTree.Element("svg", {"class": "letters", "width": "0", "height": "0", "aria-hidden": "true"})
        shapes = ElementTree.SubElement(root, "defs")
        for shape, name in self._names.items():
            ElementTree.SubElement(shapes, "path", {"id": name, **dict(shape)})
        return Markup(ElementTree.tostring(root, encoding="unicode"))
