"""The paper's heat maps from a record: |dL/dW| beside |dL/dW~|, and the stripes of dL/dY before and after V."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.gradients.spaces import ORIGINAL, ROTATED

__all__ = ["heat_maps", "stripe_maps"]

_DECADES = 5
_ZERO = "#ffffff"


def heat_maps(style: Any, result: Mapping[str, Any], setting: str) -> Any:
    """|dL/dW| in the original and in the rotated space, a row of panels a role."""
    panels = {ORIGINAL: "|dL/dW|", ROTATED: "|dL/dW~|"}
    axes = ("input (basis vector)", "output (basis vector)")
    return _grid(style, result, setting, result["pictures"], kind="dw", panels=panels, axes=axes)


def stripe_maps(style: Any, result: Mapping[str, Any], setting: str) -> Any:
    """|dL/dY| of the batch's first tokens, before and after V, in the first tuned block and in the drawn one."""
    panels = {ORIGINAL: "|dL/dY|", ROTATED: "|dL/dY V^T|"}
    axes = ("output (basis vector)", "token")
    return _grid(style, result, setting, result["stripe_pictures"], kind="dy", panels=panels, axes=axes)


def _grid(
    style: Any,
    result: Mapping[str, Any],
    setting: str,
    pictures: Sequence[Mapping[str, Any]],
    *,
    kind: str,
    panels: Mapping[str, str],
    axes: tuple[str, str],
) -> Any:
    shapes = {linear["name"]: (linear["out"], linear["inner"]) for linear in result["linears"]}
    figure = style.Figure(figsize=(8.2, 3.1 * len(pictures)), layout="constrained")
    cells = figure.subplots(len(pictures), 2, squeeze=False)
    for row, picture in zip(cells, pictures, strict=True):
        out, inner = shapes[picture["linear"]]
        for panel, (space, what) in zip(row, panels.items(), strict=True):
            patches = picture[f"{kind}_{space}"]
            extent = (inner, out) if kind == "dw" else (out, len(patches))
            drawn = _map(panel, patches, extent)
            panel.set(title=f"block {picture['block']}, {picture['role']}: {what}", xlabel=axes[0], ylabel=axes[1])
            panel.title.set_fontsize(8)
            figure.colorbar(drawn, ax=panel, label="log10 of magnitude / largest")
    told = "rotated: shared bases of normalised gradients; largest magnitude of each patch, white: exactly zero"
    figure.suptitle(f"{setting}, step {pictures[0]['step']}\n{told}", size=8)
    return figure


def _map(panel: Any, patches: Sequence[Sequence[float]], extent: tuple[int, int]) -> Any:
    """Five decades below the largest, in a map that is told apart in grey and by colour-blind readers."""
    from matplotlib import colormaps

    largest = max((value for row in patches for value in row), default=0.0)
    logs = [[math.log10(value / largest) if value > 0 else math.nan for value in row] for row in patches]
    colours = colormaps["cividis"].with_extremes(bad=_ZERO)
    across, down = extent
    panel.grid(visible=False)
    return panel.imshow(
        logs,
        cmap=colours,
        vmin=-_DECADES,
        vmax=0,
        aspect="auto",
        interpolation="nearest",
        extent=(0, across, down, 0),
    )
