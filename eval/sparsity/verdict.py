"""Where quality begins to degrade: read off the paired tests against dense, after Holm, never off the means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eval.sparsity.levels import DENSE

__all__ = ["verdicts"]

Row = Mapping[str, Any]


def verdicts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One verdict a task, split and method, JSON types, from the rows of a sweep.

    found: "loss", "no loss" or None: no pairs, or dense itself is not above a constant answer: no quality to lose.
    from_kept: the level from which on no loss is found, None where the highest tried loses. loss_at, loss: the highest
    level that is worse than dense, and its difference. could_see: the smallest loss, as a share, that the levels called
    ties would have shown four times out of five; None where some level could have shown none. ties_below: levels below
    loss_at that are ties. missing: levels without a comparison.
    sentence: the same for people.
    """
    groups: dict[tuple[str, str, str], list[Row]] = {}
    dense = {(row["task"], row["split"]): row["over_constant"] for row in rows if row["kept"] == DENSE}
    for row in rows:
        if row["kept"] != DENSE:
            groups.setdefault((row["task"], row["split"], row["base_method"]), []).append(row)
    return [
        {
            "task": task,
            "split": split,
            "method": method,
            **_verdict(sorted(lines, key=lambda row: row["entries"]), dense.get((task, split))),
        }
        for (task, split, method), lines in groups.items()
    ]


def _verdict(rows: Sequence[Row], learned: Row | None) -> dict[str, Any]:
    """Of one method's rows, from few entries to many; `learned`: dense over a constant answer."""
    told = [row for row in rows if row["difference"] is not None and row["difference"]["low"] is not None]
    losses = [row for row in told if row["verdict"] == "worse"]
    onset = losses[-1] if losses else None
    above = told if onset is None else told[told.index(onset) + 1 :]
    below = [] if onset is None else [row for row in told[: told.index(onset)] if row["verdict"] != "worse"]
    nothing = learned is not None and learned["low"] is not None and learned["low"] <= 0
    found = None if not told or nothing else "no loss" if onset is None else "loss"
    made = {
        "found": found,
        "from_kept": above[0]["kept"] if above else None,
        "loss_at": None if onset is None else onset["kept"],
        "loss": None if onset is None else {name: onset["difference"][name] for name in ("mean", "low", "high")},
        "could_see": max((row["difference"]["detectable"] for row in above), default=None),
        "ties_below": [row["kept"] for row in below],
        "missing": [row["kept"] for row in rows if row not in told],
    }
    return {**made, "sentence": _sentence(made, rows, learned if nothing else None)}


def _sentence(made: Mapping[str, Any], rows: Sequence[Row], idle: Row | None) -> str:
    """`idle`: dense over a constant answer, where it is not above it."""
    without = f" Without a run: {', '.join(made['missing'])}." if made["missing"] else ""
    if idle is not None:
        ends = f"{100 * idle['mean']:+.1f} points [{100 * idle['low']:+.1f}, {100 * idle['high']:+.1f}]"
        why = f"dense itself is not above one answer given to all ({ends}): train longer, or at other rates"
        return f"no verdict: {why}.{without}"
    if made["found"] is None:
        one = any(row["difference"] is not None for row in rows)
        why = "one seed tells nothing of other seeds, give --seeds 3 or more" if one else "no level ran beside dense"
        return f"no verdict: {why}."
    seen = "" if made["could_see"] is None else f"{100 * made['could_see']:.1f} points"
    if made["found"] == "no loss":
        sentence = f"not found: no level is worse than dense; this run could have seen a loss of {seen}."
    else:
        loss = made["loss"]
        size = f"{-100 * loss['mean']:.1f} points [{-100 * loss['high']:.1f}, {-100 * loss['low']:.1f}]"
        if made["from_kept"] is None:
            sentence = f"at {made['loss_at']}, the most that was tried, a loss of {size}: give more to --kept-list."
        else:
            sentence = f"from {made['from_kept']} kept on no loss is found (of {seen} it would have been); "
            sentence += f"at {made['loss_at']} a loss of {size}."
        if made["ties_below"]:
            sentence += f" Below that, {', '.join(made['ties_below'])} could not be told from dense."
    return sentence + without
