"""Text inside Markdown: shown as it is, none of its characters acting, and no more of them written out than that takes.

What would act becomes a numeric character reference, which CommonMark (section 2.5) and HTML take as text wherever the
character would have been structure. Commands are code spans, in which nothing acts but the end.
"""

from __future__ import annotations

import re

from eval.mtbench.hostile import visible

__all__ = ["code_span", "plain_text"]

_ACTING = re.compile(
    r"""
      [<`|*\\$@#]                                       # tags, code, cells, emphasis, escapes, mathematics, mentions
    | &(?=[#A-Za-z])                                    # a character reference
    | ~(?=\S)                                           # strikethrough opens before what is no space
    | _(?![A-Za-z0-9])                                  # emphasis ends; before a letter or digit it cannot
    | \](?=[(\[:]) | \[(?=\^)                           # a link, the definition of one, a footnote
    | :(?=//) | (?<=[wW]{3})\.                          # an address, which GFM makes a link
    | :(?=[0-9_+-]{0,40}[A-Za-z][A-Za-z0-9_+-]{0,40}:)  # an emoji's name
    """,
    re.VERBOSE,
)
# At the beginning of a block: a quotation, a list, a break, a heading's underline, a task.
_LEADING = re.compile(r">|[-+=](?![A-Za-z0-9.])|[0-9]{1,9}[.)](?=\s|$)|\[(?=[ xX]\])")


def plain_text(text: str) -> str:
    """One line of running text, or a table's cell."""
    line = _one_line(text)
    found = _LEADING.match(line)
    at = found.end() if found else 0
    begun = line[: at - 1] + _reference(line[at - 1]) if found else ""
    return begun + _ACTING.sub(lambda acting: _reference(acting[0]), line[at:])


def code_span(text: str) -> str:
    """One line of code. One that holds a table's bar is plain text: inside a cell no code span could keep it."""
    line = _one_line(text)
    if not line or "|" in line:
        return plain_text(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    room = " " if "`" in (line[0], line[-1]) else ""
    return f"{fence}{room}{line}{room}{fence}"


def _one_line(text: str) -> str:
    return visible(" ".join(text.split()))


def _reference(character: str) -> str:
    return f"&#{ord(character)};"
