"""The report, section by section: the ledger first, then the paper's tables, then everything that was measured."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from bench.environment import code_fingerprint
from bench.rows import BASELINE
from reports.document import Block, Document, Ledger, Prose, Section, Table, Verdict
from reports.dots import capacity_figure, judged_figure
from reports.drawings import memory_figure, pareto_figures, quality_figure, speed_figure
from reports.glance import at_a_glance
from reports.gradient_curves import core_blocks, energy_blocks, stability_blocks, zero_blocks
from reports.maps import crossover_maps, gradient_maps
from reports.paper.authors import Logs
from reports.paper.itself import ledger_of_itself
from reports.paper.ledger import paper_ledger
from reports.paper.logs_ledger import ledger_of_logs
from reports.paper.tables_ledger import ledger_of_tables
from reports.provenance import run_of
from reports.reading.folders import Source
from reports.reading.several import of_one_model
from reports.reading.shelf import Shelf
from reports.sweeps import category_blocks, sparsity_blocks
from reports.tables.across import across_table
from reports.tables.alone import alone_table
from reports.tables.capacity import capacity_table
from reports.tables.chat import chat_table
from reports.tables.compared import compared_table, judge_check_table
from reports.tables.cost import calibration_table, peak_table, speed_table
from reports.tables.crossover import benefit_table, crossover_table
from reports.tables.gradients import gradient_tables
from reports.tables.others import failed_table, kind_table, parts_table, skipped_table
from reports.tables.paper_cost import cost_by_task, cost_table
from reports.tables.paper_later import llama_table, sparsity_table
from reports.tables.paper_quality import average_table, task_table
from reports.tables.paper_sizes import parameter_table, settings_table
from reports.tables.preliminary import preliminary_table
from reports.tables.quality import judged_table, quality_table
from reports.tables.sweep import sweep_figure, sweep_table

__all__ = ["report"]


def report(
    shelf: Shelf,
    *,
    folders: Sequence[str],
    logs: Logs | None,
    more: Sequence[Section] = (),
    before: Shelf | None = None,
) -> Document:
    """The document; ``more``: sections on a comparison with earlier results (``before``) and on others' results."""
    sections = [
        _ledger(shelf, logs),
        *more,
        *(
            made
            for made in (
                _glance(shelf),
                _speed(shelf),
                _memory(shelf),
                _gradients(shelf),
                _quality(shelf),
                _judged(shelf),
            )
            if made is not None
        ),
        _paper(shelf, logs),
        *(made for made in (_others(shelf), _left_out(shelf)) if made is not None),
    ]
    times = sorted(source.record.ended for source in shelf.sources)
    return Document(
        title="SparseGrad: what it costs and what it is worth",
        subtitle="Made from records alone: every figure leads to its samples and to the command that reruns it.",
        made_from=(
            ("folders", ", ".join(folders)),
            ("records", f"{len(shelf.sources)} read, {len(shelf.skipped)} left out"),
            ("measured", f"{times[0][:16]} to {times[-1][:16]} UTC" if times else "nothing"),
            ("report's code", code_fingerprint("reports")[:16]),
        ),
        sections=tuple(sections),
        runs=tuple(
            run_of(source.folder, source.record)
            for source in _once([*(before.sources if before else []), *shelf.sources])
        ),
    )


def _once(sources: Sequence[Source]) -> list[Source]:
    """One source a run id: of a run that was filed twice under one name the last stands for both."""
    return list({(s.folder, s.record.kind, s.record.key, s.record.started): s for s in sources}.values())


def _ledger(shelf: Shelf, logs: Logs | None) -> Section:
    claims = paper_ledger(shelf)
    told = (
        "Only the setting that a claim is made of can give it a verdict. A figure of another machine, model or "
        "instrument is shown beside it, marked x. New records change the verdicts; nobody writes them."
    )
    blocks: list[Block] = [
        Prose(text=_in_short(claims)),
        claims,
        Prose(text=told),
        Prose(text="What the paper's text states, beside what its own tables, or a count, come to."),
        ledger_of_itself(),
    ]
    if logs is not None:
        blocks.append(Prose(text="What the paper prints, beside the logs that its authors published."))
        blocks.append(ledger_of_logs(logs))
    return Section(id="ledger", title="The paper's claims", blocks=tuple(blocks))


def _in_short(ledger: Ledger) -> str:
    """What was claimed, and where the measurements agree, in two sentences."""
    counts = Counter(claim.verdict for claim in ledger.claims)
    untested = [claim for claim in ledger.claims if claim.verdict is Verdict.NOT_TESTED]
    elsewhere = sum(bool(claim.measured) for claim in untested)
    told = (
        f"The paper makes {len(ledger.claims)} claims. In the setting that they are made of, "
        f"{counts[Verdict.REPRODUCED]} are reproduced, {counts[Verdict.NOT_REPRODUCED]} are not, and "
        f"{counts[Verdict.WITHIN_NOISE]} cannot be told from noise."
    )
    if untested:
        told += (
            f" {len(untested)} were not tested there; {elsewhere} of these were measured in another setting, which is "
            "shown, marked x, and decides nothing."
        )
    return told


def _glance(shelf: Shelf) -> Section | None:
    blocks = at_a_glance(shelf)
    return Section(id="glance", title="At a glance", blocks=tuple(blocks)) if blocks else None


def _speed(shelf: Shelf) -> Section | None:
    blocks: list[Block] = []
    for number, run in enumerate(shelf.speed, 1):
        blocks.append(speed_table(run, f"speed-{number}"))
        if (drawn := speed_figure(run, f"speed-figure-{number}")) is not None:
            blocks.append(drawn)
    for number, run in enumerate(shelf.sparsity, 1):
        blocks.append(speed_table(run, f"sparsity-{number}", what="Speed over kept entries"))
        blocks += sparsity_blocks(run, f"sparsity-figure-{number}")
    for number, grid in enumerate(shelf.crossover, 1):
        blocks += [crossover_table(grid, f"crossover-{number}"), benefit_table(grid, f"crossover-benefit-{number}")]
        blocks += crossover_maps(grid, f"crossover-figure-{number}")
    return Section(id="speed", title="Speed", blocks=tuple(blocks)) if blocks else None


def _memory(shelf: Shelf) -> Section | None:
    blocks: list[Block] = []
    for number, group in enumerate(shelf.peaks, 1):
        blocks.append(peak_table(group, f"memory-{number}"))
        if (drawn := memory_figure(group, f"memory-figure-{number}")) is not None:
            blocks.append(drawn)
        blocks += category_blocks(group, f"category-figure-{number}")
    for number, fits in enumerate(shelf.capacities, 1):
        blocks += [capacity_table(fits, f"capacity-{number}"), *capacity_figure(fits, f"capacity-figure-{number}")]
    if shelf.calibrations:
        blocks.append(calibration_table(shelf.calibrations, "calibrations"))
    if shelf.preliminary:
        blocks.append(preliminary_table(shelf.preliminary, "preliminary"))
    return Section(id="memory", title="Memory and setup", blocks=tuple(blocks)) if blocks else None


def _gradients(shelf: Shelf) -> Section | None:
    blocks: list[Block] = []
    for number, run in enumerate(shelf.gradients, 1):
        blocks += gradient_tables(run, f"gradients-{number}")
        blocks += gradient_maps(run, f"gradient-maps-{number}")
        blocks += energy_blocks(run, f"energy-figure-{number}")
        blocks += zero_blocks(run, f"zero-figure-{number}")
        blocks += stability_blocks(run, f"stability-figure-{number}")
        blocks += core_blocks(run, f"core-figure-{number}")
    return Section(id="gradients", title="Gradients", blocks=tuple(blocks)) if blocks else None


def _quality(shelf: Shelf) -> Section | None:
    blocks: list[Block] = []
    paired = [one for one in shelf.quality if len(one.runs) > 1]
    to_full = of_one_model(one for one in paired if one.reference() == BASELINE)
    blocks += [across_table(tasks, f"across-{number}") for number, tasks in enumerate(to_full, 1)]
    for number, one in enumerate(paired, 1):
        blocks.append(quality_table(one, f"quality-{number}"))
        if (drawn := quality_figure(one, f"quality-figure-{number}")) is not None:
            blocks.append(drawn)
        blocks += pareto_figures(one, f"pareto-{number}")
    blocks += [compared_table(one, f"compared-{number}") for number, one in enumerate(shelf.compared, 1)]
    blocks += [chat_table(one, f"chat-{number}") for number, one in enumerate(shelf.chat, 1)]
    for number, sweep in enumerate(shelf.sweeps, 1):
        blocks.append(sweep_table(sweep, f"sweep-{number}"))
        if (line := sweep_figure(sweep, f"sweep-figure-{number}")) is not None:
            blocks.append(line)
    if alone := [one for one in shelf.quality if len(one.runs) == 1]:
        blocks.append(alone_table(alone, "alone"))
    return Section(id="quality", title="Quality", blocks=tuple(blocks)) if blocks else None


def _judged(shelf: Shelf) -> Section | None:
    blocks: list[Block] = []
    for number, run in enumerate(shelf.judged, 1):
        blocks += [judged_table(run, f"judged-{number}"), *judged_figure(run, f"judged-figure-{number}")]
    blocks += [judge_check_table(one, f"judge-check-{number}") for number, one in enumerate(shelf.judge_checks, 1)]
    return Section(id="judged", title="Judged answers", blocks=tuple(blocks)) if blocks else None


def _paper(shelf: Shelf, logs: Logs | None) -> Section:
    tables: list[Table] = [parameter_table(), cost_table(shelf), average_table(shelf, logs), llama_table(shelf)]
    tables += [cost_by_task(shelf)]
    tables += [task_table(model, shelf, logs) for model in ("roberta-large", "bert-base", "roberta-base")]
    tables += [sparsity_table(), settings_table()]
    told = "What each table prints beside what was counted or measured; what the scans garble carries no verdict."
    return Section(id="paper", title="The paper's tables", blocks=(Prose(text=told), ledger_of_tables(shelf), *tables))


def _others(shelf: Shelf) -> Section | None:
    kinds: dict[str, list[Source]] = defaultdict(list)
    for source in shelf.others:
        kinds[source.record.kind].append(source)
    blocks = [kind_table(kind, own, f"kind-{number}") for number, (kind, own) in enumerate(kinds.items(), 1)]
    if shelf.parts:
        blocks.append(parts_table(shelf.parts, "parts"))
    return Section(id="others", title="Other records", blocks=tuple(blocks)) if blocks else None


def _left_out(shelf: Shelf) -> Section | None:
    blocks: list[Block] = []
    if shelf.failed:
        blocks.append(failed_table(shelf.failed, "failed"))
    if shelf.skipped:
        blocks.append(skipped_table(shelf.skipped, "skipped"))
    return Section(id="left-out", title="Failed and left out", blocks=tuple(blocks)) if blocks else None
