"""Answers that speak to the judge: those that carry a rating or the template's delimiters, flagged and neutralised."""

from __future__ import annotations

import re
from collections.abc import Iterable

from eval.mtbench.prompts import Prompts

__all__ = ["Marks"]

_RATING = r"\[\[\s*-?[0-9]+(?:\.[0-9]*)?\s*\]\]"


class Marks:
    """What an answer must not say to the judge: a rating ``[[n]]``, or a line that fences off a part of its prompt."""

    def __init__(self, prompts: Prompts) -> None:
        delimiters = {delimiter for prompt in prompts.values() for delimiter in prompt.delimiters}
        # Case and spacing do not matter to a judge that reads.
        worded = sorted(r"\s*".join(map(re.escape, delimiter.split())) for delimiter in delimiters)
        self._pattern = re.compile("|".join([_RATING, *worded]), re.IGNORECASE)

    def found(self, texts: Iterable[str]) -> list[str]:
        """The marks in the texts, each once, in order."""
        return list(dict.fromkeys(found[0] for text in texts for found in self._pattern.finditer(text)))

    def neutralised(self, text: str) -> str:
        """The text with a space put after the first character of each mark: ``[ [10]]``, ``[ The End of ...]``.

        Nothing is taken away, so that the judge sees what was tried; the result carries no mark.
        """
        while True:  # again for marks that overlapped: a pass or two
            safe = self._pattern.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
            if safe == text:
                return text
            text = safe
