"""Text that somebody else wrote, shown where it can do nothing: no markup, no escape sequence, no reordering."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["markdown_cell", "one_line", "visible", "well_formed"]

# Categories that a terminal or a browser acts on rather than shows: controls, formats (the bidirectional overrides
# among them), surrogates, private use, unassigned.
_ACTIVE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# What Markdown or HTML could read as more than text. Beside the characters left out here a hyphen before a letter or
# digit and a point between digits are harmless; a bracket after a whole number could begin a list.
_ACTING = re.compile(
    r"(?!-(?=[A-Za-z0-9])|(?<=[0-9])\.(?=[0-9])|(?<![0-9])\)|(?<=\.[0-9]{2})\)|/(?=[0-9 ]))"
    r"[^A-Za-z0-9 ,;%('\"?\x80-\U0010ffff]"
)

_HALF = re.compile("[\ud800-\udfff]")


def well_formed(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair, which a JSON escape can carry and no request can."""
    return _HALF.sub("\ufffd", text)


def visible(text: str) -> str:
    """The text with every character that acts instead of showing written out (``\\x1b``); line breaks and tabs stay."""
    return "".join(character if character in "\n\t" or _shows(character) else _written(character) for character in text)


def one_line(text: str, longest: int = 200) -> str:
    """The same on one line, cut at ``longest`` characters: for tables and messages."""
    line = visible(" ".join(text.split()))
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def markdown_cell(text: str) -> str:
    """The text inside a Markdown table's cell or running text: shown as it is, with none of its characters acting.

    What could act becomes a numeric character reference, which CommonMark (section 2.5) takes as text in every place
    where the character would have been structure; HTML likewise. Letters, digits, spaces, most of prose's punctuation
    and all beyond ASCII stay, so that the source can be read.
    """
    lines = visible(text).expandtabs(4).split("\n")
    indents = (len(line) - len(line.lstrip(" ")) for line in lines)
    return "<br>".join(
        "&nbsp;" * indent + _ACTING.sub(lambda found: f"&#{ord(found[0])};", line[indent:])
        for line, indent in zip(lines, indents, strict=True)
    )


def _shows(character: str) -> bool:
    return unicodedata.category(character) not in _ACTIVE


def _written(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
