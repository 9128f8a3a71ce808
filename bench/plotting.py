"""The one style of the project's figures: colours that stay apart for colour-blind readers, files that repeat."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

__all__ = ["COLOURS", "HATCHES", "figure_bytes", "house_style", "write_figure"]

# Okabe and Ito, Color Universal Design (2008), without yellow, which vanishes on white.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
# The same order told without colour, for print.
HATCHES = ("", "//", "..", "xx", "\\\\", "++", "--")

_STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that no machine draws another
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "figure.dpi": 150,
    "svg.hashsalt": "sparsegrad",  # ids that do not change from run to run
    "svg.fonttype": "path",
    "text.parse_math": False,  # names hold what they hold: a $ is a $
}


@contextmanager
def house_style() -> Iterator[Any]:
    """``matplotlib.figure`` in the house's style, without a window system: make a ``Figure`` of it."""
    import matplotlib
    from matplotlib import figure

    with matplotlib.rc_context(_STYLE):
        yield figure


def figure_bytes(figure: Any, kind: str) -> bytes:
    """The figure as a ``png`` or ``svg`` file; the same figure gives the same bytes, whenever it is drawn."""
    drawn = BytesIO()
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}[kind]
    figure.savefig(drawn, format=kind, bbox_inches="tight", metadata=metadata)
    return drawn.getvalue()


def write_figure(path: Path, content: bytes) -> None:
    """Whole or not at all, as records are: what is cut short by a kill or a full disk is no figure to a rerun."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        message = f"cannot write the figure {path.name}: {error.strerror}"
        raise OSError(error.errno, message, str(path.parent)) from error
