"""The table of a comparison as people read it; scores and differences in points, hundredths of the metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.tables import count, mebibytes
from eval.ending import came_to

__all__ = ["print_scoreboard"]

_BUDGETS = {
    "params": "Equal parameters: LoRA and its kin have the rank with as many as SparseGrad keeps entries.",
    "bytes": "Equal bytes: LoRA and its kin have the rank whose file is as large as compact SparseGrad's; methods that "
    "keep whole weights stay as they are.",
    "time": "Equal time: steps are what fits the reference's time, calibration counted in, by timed updates of each "
    "method; what the runs took stands under training.",
}
_SHORT = {"accuracy": "acc", "pearson": "r", "spearman": "rho", "f1": "F1", "mcc": "MCC"}


def print_scoreboard(console: Console, title: str, result: Mapping[str, Any]) -> None:
    """A table a task and split, then what the columns mean and what failed."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in result["rows"]:
        groups.setdefault((row["task"], row["split"]), []).append(row)
    for (task, split), rows in groups.items():
        table = _table(f"{title}\n{_named(task, split)}", result["reference"], rows)
        # A figure is never cut: lines too long for a narrow terminal run on.
        needed = console.measure(table, options=console.options.update(max_width=1000)).maximum
        console.width = max(console.width, needed)
        console.print(table)
    for note in notes(result):
        console.print(Text(note), soft_wrap=True)


def _named(task: str, split: str) -> str:
    return task if split == "validation" else f"{task} {split.removeprefix('validation_')}"


def _table(title: str, reference: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    metrics = list(rows[0]["metrics"])
    table = Table(title=Text(title), title_justify="left", pad_edge=False)
    table.add_column("method", no_wrap=True)
    names = ["lr", *(_SHORT[name] for name in metrics)]
    names += ["mean"] if len(metrics) > 1 else []
    names += [f"difference to {reference}", "p (Holm)", "lower bound", "could see", "trainable", "updated", "adapter"]
    forgetting = ["forgetting"] if any(row["forgetting"] is not None for row in rows) else []
    for name in (*names, "peak", "steps", "training", "trials", *forgetting):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in _cells(row, metrics)))
    return table


def _cells(row: Mapping[str, Any], metrics: Sequence[str]) -> list[str]:
    scores = [spread(row["metrics"][name]) for name in metrics]
    scores += [spread(row["headline"])] if len(metrics) > 1 else []
    if not row["seeds"]:
        scores[0] = row["status"]
    peak = "n/a" if row["peak_bytes"] is None else mebibytes(row["peak_bytes"])
    spent = "n/a" if row["train_s"] is None else f"{row['train_s'] + row['calibration_s']:,.0f} s"
    rate = "n/a" if row["lr"] is None else f"{row['lr']:g}"
    kept = "n/a" if row["adapter_bytes"] is None else f"{row['adapter_bytes'] / 1e6:.3g} MB"
    counts = [count(row["trainable_parameters"]), count(row["updated_parameters"]), kept]
    steps = "n/a" if not row["steps"] else f"{round(fmean(row['steps'])):,}"
    tried = f"{row['trials']}: {row['trials_s']:,.0f} s" if row["trials"] else "0"
    return [row["method"], rate, *scores, *_difference(row), *counts, peak, steps, spent, tried, *_forgotten(row)]


def _difference(row: Mapping[str, Any]) -> list[str]:
    told = row["difference"]
    if told is None:
        return ["", "", "", ""]
    if _same(row):
        return ["the same", "", "", ""]
    mark = "~ " if row["verdict"] == "~" else ""
    interval = f"[{_signed(told['low'], '-inf')}, {_signed(told['high'], '+inf')}]"
    bound = (
        f"{_signed(told['lower_bound'], '-inf')} {'>' if told['non_inferior'] else 'not >'} -{points(told['margin'])}"
    )
    seen = "n/a" if told["detectable"] is None else points(told["detectable"])
    return [f"{mark}{_signed(told['mean'], '')} {interval}", f"{told['p_holm']:.2g}", bound, seen]


def _same(row: Mapping[str, Any]) -> bool:
    """Whether the method scores as the reference does on whatever items and seeds."""
    told = row["difference"]
    return told is not None and told["mean"] == told["standard_error"] == 0


def _forgotten(row: Mapping[str, Any]) -> list[str]:
    told = row["forgetting"]
    if told is None:
        return []
    low, high = ("inf" if end is None else f"{end:+.3f}" for end in (told["low"], told["high"]))
    return [f"{told['mean']:+.3f} [{'-' if told['low'] is None else ''}{low}, {high}]"]


def spread(told: Mapping[str, Any]) -> str:
    """``91.3 ± 0.2``: mean and standard deviation over seeds, in points; n/a where nothing was measured."""
    if told["mean"] is None:
        return "n/a"
    return points(told["mean"]) if told["sd"] is None else f"{points(told['mean'])} ± {points(told['sd'])}"


def points(share: float) -> str:
    """0.913 -> ``91.3``."""
    return f"{100 * share:.1f}"


def _signed(share: float | None, infinite: str) -> str:
    return infinite if share is None else f"{100 * share:+.1f}"


def notes(result: Mapping[str, Any]) -> list[str]:
    """How to read the columns, how rates were chosen, and every failure."""
    rows = result["rows"]
    seeds = max((len(row["seeds"]) for row in rows), default=0)
    told = [f"Points (x 100). Mean ± standard deviation over {seeds} seed{'s' if seeds != 1 else ''}."]
    if any(row["difference"] is not None for row in rows):
        told += [
            "[low, high]: 95% CI of the paired difference, over other items and other seeds. ~: a tie: p above 0.05 "
            f"after Holm's correction over all {sum(row['difference'] is not None for row in rows)} comparisons.",
            "lower bound: one-sided 95%; above minus the margin the method is not inferior to the reference.",
            "could see: the smallest true difference that is told from a tie four times out of five, so corrected.",
        ]
    if any(_same(row) for row in rows):
        told.append("the same: scores equal on whatever items and seeds, as those of equal answers: nothing to test.")
    idle = [row for row in rows if row["over_constant"] is not None and (row["over_constant"]["low"] or 0) <= 0]
    if idle and seeds > 1:
        names = ", ".join(dict.fromkeys(f"{row['method']} on {_named(row['task'], row['split'])}" for row in idle))
        told.append(f"Not above one answer given to all, so that a tie with them says nothing: {names}.")
    if seeds == 1:
        told.append("One seed tells nothing of other seeds: intervals are infinite; give --seeds 3 or more.")
    if result["trials_each"]:
        told.append(
            f"{'lr and batch' if result['searched'] else 'lr'}: the best of {result['trials_each']} trials for each "
            "method, by examples held out of the training split; the validation split takes no part in any choice."
        )
    unchosen = [row for row in rows if row["trials"] and not row["trials_s"]]
    if unchosen:
        names = ", ".join(dict.fromkeys(f"{row['method']} on {row['task']}" for row in unchosen))
        told.append(f"None of its trials came to its end, so that its lr was not chosen: {names}.")
    instruments = {row["peak_instrument"] for row in rows if row["peak_instrument"]}
    meaning = {"tracked": "tracked peak of live tensor storages (no GPU: not CUDA memory)"}
    told += [f"peak: {meaning.get(name, name)}, over the first two updates." for name in sorted(instruments)]
    told.append("training: seconds of all updates, and of calibration where the method has one; means over seeds.")
    told.append(
        "trials: how many chose lr, and their seconds of training. adapter: of the tuned linears, without head."
    )
    if any(row["forgetting"] is not None for row in rows):
        told.append(
            "forgetting: rise of the masked-language-model loss on other text, nats a masked token, from "
            f"{next(row['forgetting']['before'] for row in rows if row['forgetting']):.3f} before; 95% CI over other "
            "texts and seeds."
        )
    if result["budget"] is not None:
        told.append(_BUDGETS[result["budget"]])
    told += [
        came_to(f"{row['task']} {row['method']}, seed {failure['seed']}", failure["status"], failure["reason"])
        for row in rows
        for failure in row["failures"]
        if row["split"] == next(other["split"] for other in rows if other["task"] == row["task"])
    ]
    return told
