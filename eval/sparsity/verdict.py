"""Where quality begins to degrade: read off the paired tests against dense, after Holm, never off the means.

A level may also do no better than one answer given to every item. Where dense itself does not, there is no quality to
lose; where a level of few entries falls so far, that is its loss; where one of more entries does while fewer learn, its
training collapsed, which sparsity does not explain; and a tie of such a level with dense says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from eval.sparsity.levels import DENSE

__all__ = ["verdicts"]

Row = Mapping[str, Any]

_NO_VERDICT: Row = {**dict.fromkeys(("found", "from_kept", "loss_at", "loss", "could_see")), "ties_below": []}
# Of levels that nothing was tested of.
_SAME = "each scores as dense does on whatever items"


def verdicts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One verdict a task, split and method, JSON types, from the rows of a sweep.

    found: "loss", "no loss" or None, no verdict: then the sentence says why, and nothing is told of levels and losses.
    from_kept: the level from which on no loss is found, None where there is none such, or where a loss of all that
    dense has could have been missed there. loss_at, loss: the highest level that is worse than dense, and its
    difference. could_see: the smallest loss, as a share, that the levels from from_kept on would have shown four times
    out of five, None where they all score as dense does on whatever items. ties_below: levels below loss_at that are
    ties. better: levels that are better than dense. to_lose: what dense has over one answer given to all, a share.
    idle: levels that are not above that answer. missing: levels of which fewer than two seeds ran beside dense.
    sentence: the same for people.
    """
    groups: dict[tuple[str, str, str], list[Row]] = {}
    dense = {(row["task"], row["split"]): row for row in rows if row["kept"] == DENSE}
    for row in rows:
        if row["kept"] != DENSE:
            groups.setdefault((row["task"], row["split"], row["base_method"]), []).append(row)
    return [
        {
            "task": task,
            "split": split,
            "method": method,
            **_verdict(sorted(lines, key=lambda row: row["entries"]), dense[task, split]),
        }
        for (task, split, method), lines in groups.items()
    ]


def _verdict(rows: Sequence[Row], dense: Row) -> dict[str, Any]:
    """Of one method's rows, from few entries to many."""
    told = [row for row in rows if row["difference"] is not None and row["difference"]["low"] is not None]
    at = max((place for place, row in enumerate(told) if row["verdict"] == "worse"), default=-1)
    above = [*takewhile(lambda row: not _idle(row), reversed(told[at + 1 :]))]
    onset = told[at] if at >= 0 else None
    made = {
        "found": "no loss" if onset is None else "loss",
        "from_kept": above[-1]["kept"] if above else None,
        "loss_at": None if onset is None else onset["kept"],
        "loss": None if onset is None else {name: onset["difference"][name] for name in ("mean", "low", "high")},
        "could_see": max((row["difference"]["detectable"] or 0.0 for row in above), default=0.0) or None,
        "ties_below": [row["kept"] for row in told[: max(at, 0)] if row["verdict"] == "~"],
        "better": [row["kept"] for row in told if row["verdict"] == "better"],
        "to_lose": None if dense["over_constant"] is None else dense["over_constant"]["mean"],
        "idle": [row["kept"] for row in told if _idle(row)],
        "missing": [row["kept"] for row in rows if row not in told],
    }
    if onset is not None and _blind(made):
        made |= {"from_kept": None, "could_see": None}
    why = _why_not(rows, told, dense, made)
    sentence = f"no verdict: {why}." if why else _loss(made, told[-1]) if onset else _no_loss(made)
    return {**made, **(_NO_VERDICT if why else {}), "sentence": sentence + _besides(made, dense)}


def _idle(row: Row) -> bool:
    """Not above one answer given to all; one seed, which tells nothing of other seeds, is not called so."""
    learned = row["over_constant"]
    return learned is not None and learned["low"] is not None and bool(learned["low"] <= 0)


def _below_fewer(row: Row, learning: Sequence[Row]) -> bool:
    """Whether a level of fewer entries is better, their intervals over one answer given to all apart."""
    high = row["over_constant"]["high"]
    return any(high < other["over_constant"]["low"] for other in learning if other["entries"] < row["entries"])


def _blind(made: Row) -> bool:
    """Whether a loss of all that dense has over one answer given to all could have been missed."""
    return made["to_lose"] is not None and (made["could_see"] or 0.0) >= made["to_lose"]


def _why_not(rows: Sequence[Row], told: Sequence[Row], dense: Row, made: Row) -> str | None:
    """Why there is no verdict; None where there is one."""
    if not told:
        one = any(row["difference"] is not None for row in rows)
        return "one seed tells nothing of other seeds, give --seeds 3 or more" if one else "no level ran beside dense"
    learning = [row for row in told if not _idle(row)]
    if _idle(dense):
        lead = dense["over_constant"]
        ends = f"{100 * lead['mean']:+.1f} points [{100 * lead['low']:+.1f}, {100 * lead['high']:+.1f}]"
        others = f", though {_named(learning)} {_are(learning)}" if learning else ""
        return f"dense itself is not above one answer given to all ({ends}){others}: train longer, or at other rates"
    collapsed = [row for row in told if row["verdict"] == "worse" and _idle(row) and _below_fewer(row, learning)]
    if collapsed:
        return (
            f"{_named(collapsed)} {_are(collapsed)} not above one answer given to all, and below levels of fewer "
            "entries: training collapsed there, which sparsity does not explain; give other rates (--lr)"
        )
    if made["found"] == "no loss" and made["from_kept"] is None:
        return (
            f"{told[-1]['kept']}, the most that was tried, is told neither from dense nor from one answer given to "
            "all: train longer, at other rates, or with more seeds"
        )
    if made["found"] == "no loss" and _blind(made):
        return (
            f"dense has {_points(made['to_lose'])} over one answer given to all, and a loss of all of it would likely "
            f"not have been seen (of {_points(made['could_see'])} it would): give more seeds, or train longer"
        )
    return None


def _no_loss(made: Row) -> str:
    seen = _SAME
    if made["could_see"] is not None:
        seen = f"this run could have seen a loss of {_points(made['could_see'])}{_of_all(made)}"
    if made["idle"]:
        return f"not found: from {made['from_kept']} kept on no level is worse than dense; {seen}."
    return f"not found: no level is worse than dense; {seen}."


def _loss(made: Row, most: Row) -> str:
    loss = made["loss"]
    size = f"{-100 * loss['mean']:.1f} points [{-100 * loss['high']:.1f}, {-100 * loss['low']:.1f}]"
    if made["from_kept"] is not None:
        could = made["could_see"]
        seen = _SAME if could is None else f"of {_points(could)} it would have been{_of_all(made)}"
        told = f"from {made['from_kept']} kept on no loss is found ({seen}); at {made['loss_at']} a loss of {size}."
    elif most["kept"] == made["loss_at"]:
        told = f"at {made['loss_at']}, the most that was tried, a loss of {size}: give more to --kept-list."
    else:
        told = f"at {made['loss_at']} a loss of {size}; above it nothing is told: give other rates or more seeds."
    if made["ties_below"]:
        told += f" Below that, {', '.join(made['ties_below'])} could not be told from dense."
    return told


def _besides(made: Row, dense: Row) -> str:
    """Levels that the verdict is not of."""
    told = ""
    if made["idle"] and not _idle(dense):
        told += f" Not above one answer given to all, so that a tie with dense says nothing: {', '.join(made['idle'])}."
    if made["better"]:
        told += f" Better than dense: {', '.join(made['better'])}."
    if made["missing"]:
        told += f" Not compared, fewer than two seeds ran: {', '.join(made['missing'])}."
    return told


def _of_all(made: Row) -> str:
    if made["to_lose"] is None:
        return ""
    return f", of the {100 * made['to_lose']:.1f} that dense has over one answer given to all"


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"


def _named(rows: Sequence[Row]) -> str:
    return ", ".join(row["kept"] for row in rows)


def _are(rows: Sequence[Row]) -> str:
    return "is" if len(rows) == 1 else "are"
