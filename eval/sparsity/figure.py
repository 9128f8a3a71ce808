"""Quality against kept entries: the score of each level, and the interval of its paired difference about dense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.plotting import COLOURS, figure_bytes, house_style
from eval.metrics import TASK_METRICS
from eval.sparsity.levels import DENSE

__all__ = ["KINDS", "drawn"]

KINDS = ("svg", "png")
_MARKERS = "osD^v"
_LEGEND = "band: 95% CI of the difference, about dense; filled: told from dense after Holm"


def drawn(rows: Sequence[Mapping[str, Any]], title: str) -> dict[str, bytes]:
    """The figure as a file a kind: a panel a task and split, a line a method, shares of entries on a log scale.

    A band is dense's mean with the 95% interval of the level's paired difference laid about it: where it leaves the
    dense line, means differ beyond seeds and items. A filled mark is told from dense after Holm's correction.
    """
    panels: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        panels.setdefault((row["task"], row["split"]), []).append(row)
    with house_style() as figures:
        figure = figures.Figure(figsize=(5.2, 3.4 * len(panels)), layout="constrained")
        for axes, ((task, split), lines) in zip(
            figure.subplots(len(panels), squeeze=False)[:, 0], panels.items(), strict=True
        ):
            _panel(axes, lines)
            axes.set_title(f"{task} {split}: {title}\n{_LEGEND}", fontsize=8)
        return {kind: figure_bytes(figure, kind) for kind in KINDS}


def _panel(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    dense = next(row for row in rows if row["kept"] == DENSE)["headline"]["mean"]
    methods = list(dict.fromkeys(row["base_method"] for row in rows if row["kept"] != DENSE))
    if dense is not None:
        axes.axhline(100 * dense, color=COLOURS[-1], linestyle="--", linewidth=1, label="dense (full fine-tuning)")
    for at, method in enumerate(methods):
        colour, marker = COLOURS[at % (len(COLOURS) - 1)], _MARKERS[at % len(_MARKERS)]
        lines = [row for row in rows if row["base_method"] == method and row["headline"]["mean"] is not None]
        lines = [row for row in lines if row["kept"] != DENSE]
        x, y = [100 * row["share"] for row in lines], [100 * row["headline"]["mean"] for row in lines]
        axes.plot(x, y, color=colour, label=method, marker=marker, mfc="white")
        told = [at for at, row in enumerate(lines) if row["verdict"] in ("worse", "better")]
        axes.plot([x[at] for at in told], [y[at] for at in told], marker, color=colour)
        known = [(p, r["difference"]) for p, r in zip(x, lines, strict=True) if r["difference"] is not None]
        known = [(p, d) for p, d in known if d["low"] is not None and dense is not None]
        if known:
            low, high = ([100 * (dense + d[end]) for _, d in known] for end in ("low", "high"))
            axes.fill_between([p for p, _ in known], low, high, color=colour, alpha=0.18, linewidth=0)
    axes.set_xscale("log")
    # The levels themselves: a log scale's own ticks are written as mathematics, which the style does not parse.
    shares = sorted({100 * row["share"] for row in rows if row["kept"] != DENSE})
    axes.set_xticks(shares, [f"{share:.2g}" for share in shares], fontsize=7)
    axes.minorticks_off()
    axes.set_xlabel("entries kept a step, % of each layer's gradient")
    axes.set_ylabel(f"{_score(rows[0]['task'])}, points")
    axes.legend(fontsize=7, frameon=False)


def _score(task: str) -> str:
    names = TASK_METRICS[task]
    return names[0] if len(names) == 1 else f"mean of {' and '.join(names)}"
