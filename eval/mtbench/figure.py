"""The figure of a report: a bar a category and model, with its confidence interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.plotting import COLOURS, HATCHES, figure_bytes, house_style
from eval.mtbench.hostile import one_line
from eval.mtbench.parsing import HIGHEST
from eval.mtbench.summary import Summary

__all__ = ["category_bars"]

_KINDS = ("png", "svg")


def category_bars(summary: Summary, caption: Sequence[str]) -> dict[str, bytes]:
    """``png`` and ``svg`` of the mean rating by category; categories without a score have no bar.

    ``caption``: lines that say what the ratings may be compared with.
    """
    models = summary["models"]
    categories = list(dict.fromkeys(name for model in models for name in model["categories"]))
    with house_style() as matplotlib_figure:
        figure = matplotlib_figure.Figure(figsize=(max(6.0, 0.9 * len(categories)), 3.2))
        axes = figure.subplots()
        width = 0.8 / max(len(models), 1)
        handles = [
            _bars(axes, model, categories, offset=(place - (len(models) - 1) / 2) * width, width=width, place=place)
            for place, model in enumerate(models)
        ]
        axes.set_xticks(range(len(categories)), categories, rotation=20)
        axes.set_ylim(0, HIGHEST)
        axes.set_ylabel("mean rating (1 to 10), 95% CI")
        axes.grid(axis="x", visible=False)
        names = [one_line(model["model"], 40) for model in models]
        axes.legend(handles, names, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
        figure.text(0.0, -0.12, "\n".join(caption), fontsize=7, verticalalignment="top")
        return {kind: figure_bytes(figure, kind) for kind in _KINDS}


def _bars(
    axes: Any, model: dict[str, Any], categories: Sequence[str], *, offset: float, width: float, place: int
) -> Any:
    """One model's bars, which its name in the legend stands for."""
    told = {name: model["categories"].get(name) for name in categories}
    shown = [(x, own) for x, own in enumerate(told.values()) if own is not None and own["value"] is not None]
    bars = axes.bar(
        [x + offset for x, _ in shown],
        [own["value"] for _, own in shown],
        width,
        color=COLOURS[place % len(COLOURS)],
        hatch=HATCHES[place % len(HATCHES)],
        edgecolor="white",
    )
    sure = [(x, own) for x, own in shown if own["low"] is not None]
    if sure:
        below = [own["value"] - own["low"] for _, own in sure]
        above = [own["high"] - own["value"] for _, own in sure]
        heights = [own["value"] for _, own in sure]
        axes.errorbar(
            [x + offset for x, _ in sure], heights, yerr=[below, above], fmt="none", ecolor="#333333", capsize=2
        )
    return bars
