"""The heat map: a panel a layer shape, active rows across, kept entries up, the colour of who wins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.crossover.ways import DENSE, WAYS
from bench.plotting import COLOURS, figure_bytes, house_style
from bench.record import Record

__all__ = ["heat_map"]

# Inches of a square, so that words of eight points stay inside.
_WIDE, _HIGH = 0.97, 0.5
# Behind the words, so that they are read on any colour and hatch.
_PLATE = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5}


def heat_map(records: Sequence[Record]) -> dict[str, bytes]:
    """``png`` and ``svg``: in each square the winner's speed beside dense, hatched where the two fastest are not told
    apart, white where nothing was measured."""
    from matplotlib.patches import Patch

    shapes = list(dict.fromkeys((record.config["out"], record.config["inner"]) for record in records))
    with house_style() as figures:
        across, up = (len({record.config[side] for record in records}) for side in ("active", "kept"))
        wide, high = (max(3, count) * inches for count, inches in ((across, _WIDE), (up, _HIGH)))
        figure = figures.Figure(figsize=(1.2 + wide * len(shapes), 2.1 + high), layout="constrained")
        axes = figure.subplots(1, len(shapes), squeeze=False)[0]
        for panel, shape in zip(axes, shapes, strict=True):
            _panel(panel, shape, [r for r in records if (r.config["out"], r.config["inner"]) == shape])
        config = records[0].config
        figure.suptitle(
            f"Fastest way to train one layer: {config['tokens']} tokens, {config['dtype']}, {config['device']}, "
            f"{config['rounds']} rounds\n"
            "in a square: the fastest and its speed over dense's; where that is dense, the speed of the next",
            size=8,
        )
        patches = [Patch(facecolor=colour, label=way) for way, colour in zip(WAYS, COLOURS, strict=True)]
        patches.append(Patch(facecolor="white", edgecolor="black", hatch="///", label="not told from the next"))
        figure.legend(handles=patches, loc="outside lower center", ncols=4, frameon=False)
        return {kind: figure_bytes(figure, kind) for kind in ("svg", "png")}


def _panel(panel: Any, shape: tuple[int, int], records: Sequence[Record]) -> None:
    from matplotlib.patches import Rectangle

    active = sorted({record.config["active"] for record in records})
    kept = sorted({record.config["kept"] for record in records})
    for record in records:
        at = (active.index(record.config["active"]), kept.index(record.config["kept"]))
        winner = record.result.get("winner")
        colour = "white" if winner is None else COLOURS[WAYS.index(winner["way"])]
        unclear = winner is not None and not winner["clear"]
        square = Rectangle((at[0] - 0.5, at[1] - 0.5), 1, 1, facecolor=colour, edgecolor="white", alpha=0.75)
        panel.add_patch(square)
        if unclear:
            panel.add_patch(
                Rectangle((at[0] - 0.5, at[1] - 0.5), 1, 1, fill=False, hatch="///", edgecolor="white", lw=0)
            )
        panel.text(*at, _words(record), ha="center", va="center", fontsize=8, bbox=_PLATE)
    panel.set_xlim(-0.5, len(active) - 0.5)
    panel.set_ylim(-0.5, len(kept) - 0.5)
    panel.set_xticks(range(len(active)), [f"{100 * share:.3g}%" for share in active])
    panel.set_yticks(range(len(kept)), [f"{100 * count / (shape[0] * shape[1]):.3g}%" for count in kept])
    panel.set_xlabel("rows of dL/dy that are not zero")
    panel.set_ylabel("entries of dW kept")
    panel.set_title(f"{shape[0]} x {shape[1]} (out x in)")
    panel.grid(visible=False)


def _words(record: Record) -> str:
    """The winner and its speed; where dense wins, the best of the others."""
    winner = record.result.get("winner")
    if winner is None:
        return str(record.status)
    told = winner["over"] if winner["way"] == DENSE else winner["way"]
    beside = next((row["ratio_to_dense"] for row in record.result["ways"] if row["way"] == told), None)
    if beside is None:
        return str(winner["way"])
    return f"dense\n{told} {beside['mean']:.2f}x" if winner["way"] == DENSE else f"{told}\n{beside['mean']:.2f}x dense"
