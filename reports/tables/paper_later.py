"""Tables 6, 11 and 12: LLaMA-2-7B and the kept entries, printed beside what was measured."""

from __future__ import annotations

from collections.abc import Sequence

from reports.behind import behind
from reports.document import Cell, Table
from reports.paper.llama_rules import answered, method_of, of_paper, rated_as_paper
from reports.paper.published import LLAMA, SPARSITY_BERT
from reports.reading.chat import ChatComparison
from reports.reading.judged import JudgedRun
from reports.reading.shelf import Shelf
from reports.tables.cells import absent, amount, label, number_column, printed_cell, text_column

__all__ = ["llama_table", "sparsity_table"]


def llama_table(shelf: Shelf) -> Table:
    """Table 6: printed, and measured where pretrained LLaMA-2-7B was tuned and rated by the paper's protocol."""
    one = next((one for one in shelf.chat if of_paper(one)), None)
    judged = [run for run in shelf.judged if rated_as_paper(run)]
    rows = tuple(
        (
            label(method),
            printed_cell(share, ".1f"),
            printed_cell(loss, ".3f"),
            printed_cell(score, ".3f"),
            _measured_loss(one, method),
            _measured_score(one, method, judged),
        )
        for method, (share, loss, score) in LLAMA.items()
    )
    return Table(
        id="table-6",
        title="Table 6: LLaMA-2-7B on OpenAssistant",
        columns=(
            text_column("method"),
            number_column("trainable", "%", "as printed"),
            number_column("valid loss", note="as printed; lower is better"),
            number_column("MT-Bench Inf", "1 to 10", "as printed"),
            number_column("valid loss, measured", note="95% CI over conversations"),
            number_column("MT-Bench Inf, measured", note="95% CI over questions"),
        ),
        rows=rows,
    )


def _measured_loss(one: ChatComparison | None, name: str) -> Cell:
    method = None if one is None else method_of(one, name)
    if one is None or method is None:
        return absent("python -m eval.chat --preset paper")
    loss = next(row["loss"] for row in one.rows if row["method"] == method)
    detail = behind([run.source for run in one.runs[method]], note="mean over conversations")
    ends = None if loss["low"] is None else f"[{loss['low']:.3f}, {loss['high']:.3f}]"
    return amount(loss["mean"], ".3f", interval=ends, detail=detail)


def _measured_score(one: ChatComparison | None, name: str, judged: Sequence[JudgedRun]) -> Cell:
    method = None if one is None else method_of(one, name)
    if one is not None and method is not None:
        for run in judged:
            models = answered(one, method, run)
            rating = next((rating for rating in run.ratings if rating.model in models), None)
            if rating is not None:
                ends = None if rating.low is None or rating.high is None else f"[{rating.low:.2f}, {rating.high:.2f}]"
                return amount(rating.mean, ".3f", interval=ends, detail=behind([run.source]))
    return absent("python -m eval.mtbench --questions mt-bench-inf on its models")


def sparsity_table() -> Table:
    """Tables 11 and 12: GLUE average by kept entries; RoBERTa-base's is unreadable in both scans."""
    rows = tuple(
        (
            label("all" if kept is None else f"{kept:,}"),
            printed_cell(value, ".1f"),
            absent("unreadable in both scans"),
            absent("python -m eval.sparsity --model bert-base"),
        )
        for kept, value in SPARSITY_BERT.items()
    )
    return Table(
        id="table-11",
        title="Tables 11 and 12: GLUE average by kept entries a layer",
        columns=(
            text_column("kept"),
            number_column("BERT, printed", "points"),
            number_column("RoBERTa-base, printed", "points"),
            number_column("measured", "points"),
        ),
        rows=rows,
    )
