"""Tables 6, 11 and 12: LLaMA-2-7B and the kept entries, printed beside what was measured."""

from __future__ import annotations

from reports.document import Table
from reports.paper.published import LLAMA, SPARSITY_BERT
from reports.tables.cells import absent, label, number_column, printed_cell, text_column

__all__ = ["llama_table", "sparsity_table"]


def llama_table() -> Table:
    """Table 6. Nothing of that size was measured here."""
    later = (absent("python -m eval.chat --preset paper"), absent("python -m eval.mtbench on its models"))
    rows = tuple(
        (label(method), printed_cell(share, ".1f"), printed_cell(loss, ".3f"), printed_cell(score, ".3f"), *later)
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
            number_column("valid loss, measured"),
            number_column("MT-Bench Inf, measured"),
        ),
        rows=rows,
    )


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
