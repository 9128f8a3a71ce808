"""What a command filed of its runs together, told again from the runs by today's statistics.

A record stays as it was written; statistics get better. Where a comparison's runs lie beside it, its intervals,
p-values and verdicts are made of their predictions, as those of every other table on the page.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from bench.record import Record
from eval.compare import adjust
from eval.sparsity.verdict import verdicts
from reports.reading.quality import Comparison, QualityRun

__all__ = ["restated"]

# What of a row follows from the runs' predictions by statistics; the rest is read off the runs as it was.
_TOLD = ("difference", "over_constant")


def restated(record: Record, runs: Sequence[QualityRun], compared: Sequence[Comparison]) -> dict[str, Any] | None:
    """The result of a record of ``eval.glue`` or ``eval.sparsity``; None where not all of its runs are at hand, or
    they do not fit.

    Args:
        compared: comparisons of the same runs, which have resampled already.
    """
    filed = record.result
    by_key = {run.record.key: run for run in runs}
    try:
        rows = [dict(row) for row in filed["rows"]]
        for task in dict.fromkeys(row["task"] for row in rows):
            own = {row["method"]: [by_key[key] for key in row["records"]] for row in rows if row["task"] == task}
            told = _told(task, own, filed["reference"], compared)
            for row in rows:
                if row["task"] == task:
                    row |= {name: copy.deepcopy(told[row["split"], row["method"]][name]) for name in _TOLD}
        adjust(rows)
        again = {**filed, "rows": rows}
        return {**again, "verdicts": verdicts(rows)} if "verdicts" in filed else again
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):  # as filed, and read with care
        return None


def _told(
    task: str, own: Mapping[str, list[QualityRun]], reference: str, compared: Sequence[Comparison]
) -> dict[tuple[str, str], dict[str, Any]]:
    """(split, method) -> the row of today."""

    def holds(one: Comparison) -> bool:
        return one.task == task and all(one.runs.get(method) == runs for method, runs in own.items())

    known = next((one for one in compared if holds(one)), None)
    one = known or Comparison(task=task, runs=dict(own), left_out=())
    return {(row["split"], row["method"]): row for row in one.rows(reference)}
