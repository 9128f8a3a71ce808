"""The paper against itself: what its text states beside what its own tables, or a count, come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scipy.stats import ttest_rel

from bench.presets import PRESETS
from reports.document import Cell, Certainty, Claim, Ledger, Verdict
from reports.paper.printed import Printed
from reports.paper.published import AVERAGES, COST, ROBERTA_LARGE, SPARSITY_BERT
from reports.paper.sizes import count_blocks, tuned_matrices

__all__ = ["ledger_of_itself"]

_TITLE = "The paper against itself, statement by statement"
_STEPS, _BYTES = 30, 4


@dataclass(frozen=True, kw_only=True)
class Check:
    """One statement, and what the other place comes to."""

    id: str
    sentence: str
    place: str
    stated: str
    computed: tuple[tuple[float, str], ...]
    """(value, how): one for each reading."""
    agrees: Callable[[float], bool]
    tolerance: str
    form: str = ".1%"
    certainty: Certainty = Certainty.CERTAIN

    def claim(self) -> Claim:
        """As a row of a ledger: it agrees where any reading does."""
        agreed = any(self.agrees(value) for value, _ in self.computed)
        cells = tuple(Cell(text=f"{value:{self.form}}", sort=value, reason=how) for value, how in self.computed)
        return Claim(
            id=self.id,
            sentence=self.sentence,
            place=self.place,
            published=self.stated,
            certainty=self.certainty,
            tolerance=self.tolerance,
            measured=cells,
            verdict=Verdict.REPRODUCED if agreed else Verdict.NOT_REPRODUCED,
            why="; ".join(f"{how}: {value:{self.form}}" for value, how in self.computed),
        )


def ledger_of_itself() -> Ledger:
    """Every check; nothing is measured for it."""
    return Ledger(title=_TITLE, claims=(*(check.claim() for check in (*_cost(), *_counts())), _against_lora()))


def _near(stated: float, within: float = 0.005) -> Callable[[float], bool]:
    return lambda value: abs(value - stated) <= within


def _readings(above: Printed, below: Printed, how: str, *, saving: bool) -> tuple[tuple[float, str], ...]:
    """Every reading of a ratio of printed values, or of one minus it."""
    return tuple((1 - x / y if saving else x / y, f"{how}, {x:g} to {y:g}") for x in above.values for y in below.values)


def _cost() -> list[Check]:
    """Text and abstract against table 3."""
    (full_speed, full), (_, lora) = COST["full"], COST["lora"]
    (sd_speed, sd), (regular_speed, regular) = COST["sparsegrad-sd"], COST["sparsegrad-regular"]
    del full_speed
    within = "within half a percent of the stated share, by either scan"
    return [
        Check(
            id="S1",
            sentence="The sparse-by-dense product saves about 12% of the regular one's memory.",
            place="4 against table 3",
            stated="12%",
            computed=_readings(sd, regular, "table 3", saving=True),
            agrees=_near(0.12),
            tolerance=within,
            certainty=sd.certainty,
        ),
        Check(
            id="S2",
            sentence="SparseGrad saves 20% of full fine-tuning's memory.",
            place="4 against table 3",
            stated="20%",
            computed=_readings(sd, full, "table 3", saving=True),
            agrees=_near(0.20),
            tolerance=within,
            certainty=sd.certainty,
        ),
        Check(
            id="S3",
            sentence="LoRA saves 30% of full fine-tuning's memory.",
            place="4 against table 3",
            stated="30%",
            computed=_readings(lora, full, "table 3", saving=True),
            agrees=_near(0.30),
            tolerance=within,
        ),
        Check(
            id="S4",
            sentence="Memory requirements are identical to LoRA's.",
            place="abstract against table 3",
            stated="1.00x",
            computed=_readings(sd, lora, "table 3", saving=False),
            agrees=_near(1.0, 0.05),
            tolerance="within 0.05 of 1",
            form=".3f",
            certainty=sd.certainty,
        ),
        Check(
            id="S5",
            sentence="The sparse-by-dense product is almost five times as fast as the regular one.",
            place="4 against table 3",
            stated="almost 5x",
            computed=_readings(sd_speed, regular_speed, "table 3", saving=False),
            agrees=lambda value: 4.5 <= value < 5,
            tolerance="4.5 to 5",
            form=".2f",
        ),
    ]


def _counts() -> list[Check]:
    """Stated sizes against a count from the shapes, and one table against another."""
    bert, llama = tuned_matrices(PRESETS["bert-base"]), tuned_matrices(PRESETS["llama-2-7b"])
    table, elsewhere = SPARSITY_BERT[22_000].values
    sparse = AVERAGES["SparseGrad", "bert-base"]
    return [
        Check(
            id="S6",
            sentence="100,000 kept elements are 0.27% (elsewhere 0.2%) of a LLaMA matrix.",
            place="4",
            stated="0.27% and 0.2%",
            computed=((100_000 / llama[0], f"counted, of {llama[0]:,}"),),
            agrees=lambda value: round(100 * value, 2) in (0.27, 0.2),
            tolerance="to the printed digits",
            form=".3%",
        ),
        Check(
            id="S7",
            sentence="BERT's preliminary phase takes 276 MB.",
            place="8 against 3.1",
            stated="276 MB",
            computed=((_STEPS * len(bert) / 2 * bert[0] * _BYTES / 1e6, "one role's stack of steps x blocks, fp32"),),
            agrees=_near(276, 27.6),
            tolerance="within a tenth; the stated bytes are those of 30 matrices in all",
            form=",.0f",
        ),
        Check(
            id="S8",
            sentence="LLaMA's preliminary phase takes 5.2 GB.",
            place="8 against 3.1",
            stated="5.2 GB",
            computed=((_STEPS * len(llama) / 2 * llama[0] * _BYTES / 1e9, "one role's stack of steps x blocks, fp32"),),
            agrees=_near(5.2, 0.52),
            tolerance="within a tenth; the stated bytes are those of 30 matrices in all",
            form=",.1f",
        ),
        Check(
            id="S9",
            sentence="Only 0.1% of the weights are updated, while 53 million of BERT's train.",
            place="9 against tables 4 and 9",
            stated="0.1%",
            computed=((53e6 / count_blocks(PRESETS["bert-base"])["full"], "trainable parameters as printed"),),
            agrees=_near(0.001, 0.0005),
            tolerance="rounds to 0.1%",
        ),
        Check(
            id="S10",
            sentence="SparseGrad with 22k elements on BERT scores the same in the ablation as in the main table.",
            place="table 11 against table 4",
            stated=sparse.told(),
            computed=((table, "table 11"), (elsewhere, "the same figure elsewhere")),
            agrees=lambda value: table == elsewhere and value in sparse.values,
            tolerance="equal",
            form=".1f",
            certainty=Certainty.SCANS_DISAGREE,
        ),
    ]


def _against_lora() -> Claim:
    """C11 on RoBERTa-large by table 5's own rows, paired over the tasks."""
    ours, theirs = ROBERTA_LARGE["SparseGrad"], ROBERTA_LARGE["LoRA"]
    values = [(ours[task].value, theirs[task].value) for task in ours]
    pairs = [(x, y) for x, y in values if x is not None and y is not None]
    found = ttest_rel([x for x, _ in pairs], [y for _, y in pairs])
    mean = sum(x - y for x, y in pairs) / len(pairs)
    interval = found.confidence_interval(0.95)
    low, high = float(interval.low), float(interval.high)
    verdict = Verdict.REPRODUCED if low > 0 else Verdict.NOT_REPRODUCED if high < 0 else Verdict.WITHIN_NOISE
    told = f"[{low:+.2f}, {high:+.2f}]"
    return Claim(
        id="S11",
        sentence="SparseGrad beats LoRA on RoBERTa-large.",
        place="5.1 against table 5",
        published="a direction, no figure",
        certainty=Certainty.SCANS_DISAGREE,
        tolerance="95% interval of the mean difference, paired over tasks, above 0",
        measured=(Cell(text=f"{mean:+.2f} points", sort=mean, interval=told, reason="table 5, eight tasks"),),
        verdict=verdict,
        why=f"SparseGrad minus LoRA over {len(pairs)} tasks of table 5: {mean:+.2f} {told}, p {found.pvalue:.2g}.",
    )
