"""The paper's tables as claims, row by row: what is printed beside what was counted or measured.

What both scans garble stands here without a verdict, and says where else to look.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.presets import PRESETS
from reports.document import Certainty, Claim, Ledger, Verdict
from reports.paper.claims import PaperClaim, glue_command
from reports.paper.findings import Finding, counted, settle
from reports.paper.printed import Printed
from reports.paper.published import MODELS, OTHER_SETTINGS, PARAMETERS
from reports.paper.sizes import count_blocks
from reports.paper.table_rows import average_rows, cost_rows, kept_row, llama_rows
from reports.reading.shelf import Shelf

__all__ = ["ledger_of_tables"]

_COUNTED = 0.03
_LOGS = "the authors' logs stand beside it"
_GARBLED = (
    ("T5-tasks", "5", "Quality by task, RoBERTa-large.", f"Read in one scan alone; {_LOGS}."),
    ("T7", "7", "Steps/s by task, RoBERTa-base.", "Garbled in both scans; its average is table 3."),
    ("T8", "8", "Peak memory by task, RoBERTa-base.", "Garbled in both scans; its average is table 3."),
    ("T9", "9", "Quality by task, BERT.", f"Garbled in both scans; {_LOGS}."),
    ("T10", "10", "Quality by task, RoBERTa-base.", f"Garbled in both scans; {_LOGS}."),
)


def ledger_of_tables(shelf: Shelf) -> Ledger:
    """Tables 1 and 3 to 15 in their order."""
    garbled = (_without_verdict(*told) for told in _GARBLED)
    last = _without_verdict("T12", "12", "GLUE average by kept entries, RoBERTa-base.", "Unreadable in both scans.")
    rows = (*_sizes(), *cost_rows(shelf), *average_rows(shelf), *llama_rows(shelf), *garbled, kept_row(shelf), last)
    return Ledger(title="The paper's tables, row by row", claims=(*rows, *_settings()))


def _sizes() -> Iterator[Claim]:
    """Table 1, counted from the shapes."""
    blocks = tuple(dict.fromkeys(block for block, _ in PARAMETERS))
    for model in dict.fromkeys(model for _, model in PARAMETERS):
        counts = count_blocks(PRESETS[model])
        printed = {block: PARAMETERS[block, model] for block in blocks}
        claim = PaperClaim(
            id=f"T1-{model}",
            sentence=f"{model}: parameters by block, millions.",
            where="table 1",
            printed=printed,
            tolerance="every block within 3% of a reading",
            to_test="python -m reports",
        )
        yield settle(claim, [_counted(block, printed[block], counts[block] / 1e6) for block in blocks])


def _counted(block: str, printed: Printed, millions: float) -> Finding:
    held = any(abs(millions - value) <= _COUNTED * value for value in printed.values)
    why = f"{millions:,.1f} million, printed {printed.told(',.0f')}"
    return counted(block, held, text=f"{block} {millions:,.1f}M", value=millions, why=why)


def _without_verdict(id: str, table: str, sentence: str, why: str) -> Claim:
    return Claim(
        id=id,
        sentence=sentence,
        place=f"table {table}",
        published="uncertain",
        certainty=Certainty.UNCERTAIN,
        tolerance=None,
        measured=(),
        verdict=Verdict.NO_VERDICT,
        why=why,
    )


def _settings() -> Iterator[Claim]:
    """Tables 13 to 15 are settings, which promise no result."""
    for number, model in zip((13, 14, 15), MODELS, strict=True):
        others = [task for own, task in OTHER_SETTINGS if own == model]
        yield Claim(
            id=f"T{number}",
            sentence=f"Batch size and learning rate by task, {model}.",
            place=f"table {number}",
            published="a setting for each of eight tasks, below",
            certainty=Certainty.SCANS_DISAGREE if others else Certainty.CERTAIN,
            tolerance=None,
            measured=(),
            verdict=Verdict.NOT_TESTED,
            why="Settings promise no result: --protocol paper trains by them. A search tells what is better.",
            takes=f"{glue_command(model)} --tune 50",
        )
