"""Valid losses of conversation tuning as a table."""

from __future__ import annotations

from typing import Any

from reports.behind import behind
from reports.document import Cell, CellStatus, Detail, Samples, Table
from reports.reading.chat import ChatComparison
from reports.reading.settings import model_called
from reports.tables.cells import MIB, absent, amount, label, number_column, text_column

__all__ = ["chat_table"]


def chat_table(one: ChatComparison, id: str) -> Table:
    """Every method's loss over conversations, and its paired difference to the reference."""
    return Table(
        id=id,
        title=f"Conversations: {model_called(one.record)}",
        columns=(
            text_column("method"),
            number_column("valid loss", "nats a token", "95% CI over conversations; lower is better"),
            number_column(f"difference to {one.reference}", "nats a token", "95% CI; ~: a tie"),
            number_column("trainable", "%"),
            number_column("peak", "MiB"),
            number_column("training", "s"),
        ),
        rows=tuple(_row(one, row) for row in one.rows),
        notes=("A conversation is a tree: its branches count as one. Paired by conversation and seed; p by Holm.",),
    )


def _row(one: ChatComparison, row: dict[str, Any]) -> tuple[Cell, ...]:
    loss, share = row["loss"], row["trainable_share"]
    samples = [Samples(name="valid loss, by seed", unit="nats a token", values=tuple(loss["by_seed"]))]
    own = behind([run.source for run in one.runs[row["method"]]], samples, "mean over conversations")
    return (
        label(row["method"]),
        amount(loss["mean"], ".4f", interval=_ends(loss, ".4f"), detail=own),
        _difference(row, own),
        amount(None if share is None else 100 * share, ".3g", detail=own),
        amount(None if row["peak_bytes"] is None else row["peak_bytes"] / MIB, ",.1f", detail=own),
        amount(row["train_s"], ",.0f", detail=own),
    )


def _difference(row: dict[str, Any], own: Detail) -> Cell:
    told = row["difference"]
    if told is None:
        return absent("the reference itself, or nothing to pair")
    status = CellStatus.OK if row["verdict"] in ("better", "worse") else CellStatus.NOISE
    shown = f"{told['mean']:+.4f}"
    return Cell(text=shown, sort=told["mean"], status=status, interval=_ends(told, "+.4f"), detail=own)


def _ends(told: dict[str, Any], form: str) -> str | None:
    low, high = told["low"], told["high"]
    return None if low is None or high is None else f"[{low:{form}}, {high:{form}}]"
