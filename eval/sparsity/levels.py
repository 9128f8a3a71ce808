"""The levels of a sweep: how many entries of each layer are kept, in order; dense is full fine-tuning, always there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.errors import BadRequest
from bench.request import parse_kept
from eval.budget import kept_entries
from eval.campaign import Entry
from eval.study import Study
from sparsegrad import SparseGradError
from sparsegrad.core import Core
from sparsegrad.methods import METHODS, Settings

__all__ = ["DENSE", "PAPER", "Level", "check_methods", "entries_of", "levels_of"]

# What differences are taken to.
DENSE = "dense"
# 18k, 22k, 30k and 100k of a layer of 768 x 3072, as the paper rounds them.
PAPER = ("0.8%", "1%", "1.2%", "4.2%", DENSE)


@dataclass(frozen=True, kw_only=True)
class Level:
    """One number of kept entries."""

    word: str
    """As it was given."""
    kept: int | float | None
    """As `--kept`; None for dense."""
    entries: int
    """Kept a step, over all tuned linears."""
    of: int
    """Entries of all tuned linears."""

    @property
    def share(self) -> float:
        """Of all entries, 0 to 1."""
        return self.entries / self.of


def levels_of(words: Sequence[str], study: Study, core: Core | None = None) -> list[Level]:
    """The levels from few entries to many, dense last; of equal ones the first word stays.

    BadRequest for a word that is no count or share, or more than a layer or `core` holds, and where dense stands alone.
    """
    source, preset = study.source, study.source.preset
    tuned = Settings(targets=preset.targets if preset else None, every=preset.every if preset else 1)
    of = kept_entries(source, replace(tuned, kept=1.0))
    made: dict[int, Level] = {}
    for word in words:
        kept = parse_kept(word, "--kept-list")
        try:
            entries = kept_entries(source, replace(tuned, kept=kept))
            if entries < of:  # of every entry dense is what is run, which has no core
                kept_entries(source, replace(tuned, kept=kept, core=core))
        except SparseGradError as error:
            beside = "" if core is None else " --core {} {}".format(*core)
            raise BadRequest(f"--kept-list {word}{beside}: {error}") from None
        made.setdefault(entries, Level(word=word, kept=kept, entries=entries, of=of))
    sparse = [level for entries, level in sorted(made.items()) if entries < of]
    if not sparse:
        raise BadRequest("--kept-list: only dense is there; give counts or shares beside it, such as 1% 22k")
    return [*sparse, Level(word=DENSE, kept=None, entries=of, of=of)]


def entries_of(
    study: Study, levels: Sequence[Level], methods: Sequence[str], core: Core | None = None
) -> dict[Entry, tuple[Level, str]]:
    """A line of comparison a task, level and method -> its level and name; dense has the one method, and no core.

    They are the very runs of `eval.glue`: what either command has trained, the other finds.
    """
    made: dict[Entry, tuple[Level, str]] = {}
    for task in study.tasks:
        for level in levels:
            for method in ("full",) if level.kept is None else methods:
                own = study if level.kept is None else replace(study, kept=level.kept, core=core)
                name = level.word if level.kept is None or len(methods) == 1 else f"{level.word} {method}"
                made[Entry(study=own, task=task, method=method)] = (level, name)
    return made


def check_methods(methods: Sequence[str]) -> None:
    """BadRequest for a method that keeps no entries."""
    for name in methods:
        if name in METHODS and METHODS[name].basis is None:
            sparse = " ".join(known.name for known in METHODS.values() if known.basis is not None)
            raise BadRequest(f"--methods {name}: it keeps no share of a gradient; give any of {sparse}")
