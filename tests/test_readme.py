"""What the README shows is run: its Python blocks as written, its commands as dry runs; its figures are records'."""

from __future__ import annotations

import io
import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from rich.console import Console

from bench.record import Record
from bench.tables import print_speed, title_of
from reports.reading.restated import restated
from reports.reading.shelf import read_shelf

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_the_table_is_what_the_command_prints_of_a_published_record() -> None:
    """No figure without its record, and every footnote as `make speed` words it."""
    (path,) = (ROOT / "reports/published/2026-11-21-xeon/speed").glob("*.json")
    record = Record.from_json(path.read_text())
    out = io.StringIO()
    print_speed(Console(file=out, width=160), title_of(record), record.result)
    printed = [line.rstrip() for line in out.getvalue().splitlines()]
    (told,) = re.findall(r"```text\n(minilm.*?)```", README, flags=re.DOTALL)
    assert told.splitlines() == printed and "<!--" not in README


def published(folder: str) -> list[dict]:
    return [json.loads(path.read_text()) for path in (ROOT / "reports/published" / folder).glob("*/*.json")]


SETTINGS = ("--padding max", "--lengths fixed:128", "--padding longest", "--trainable all", "--dropout 0.1")


def of_roberta() -> list[dict]:
    """The published run of each setting, in the README's order; the plain padded one has neither of the other words."""
    runs = [r for r in published("2026-11-21-xeon-roberta-base") if r["kind"] == "speed"]
    found = [[r for r in runs if setting in r["command"]] for setting in SETTINGS]
    found[0] = [r for r in found[0] if not any(setting in r["command"] for setting in SETTINGS[1:])]
    assert all(len(some) == 1 for some in found)
    return [{row["method"]: row for row in some[0]["result"]["rows"]} for some in found]


def test_the_ratios_at_roberta_base_are_those_of_published_records() -> None:
    tables = of_roberta()
    told = re.findall(
        r"^\| (\S+) \|((?: (?:(?:~ )?[0-9.]+ \[[0-9., ]+\]|1)? \|){5}) ([0-9,]+) \| (\S+) \|$",
        README,
        flags=re.MULTILINE,
    )
    assert [method for method, *_ in told] == list(tables[0])
    for method, cells, peak, adapter in told:
        assert adapter == f"{tables[0][method]['adapter_bytes'] / 2**20:.3g}"
        assert peak == f"{tables[0][method]['peak_bytes'] / 2**20:,.0f}"
        for cell, rows in zip(cells.split("|")[:5], tables, strict=True):
            ratio = rows.get(method, {}).get("ratio_to_full")
            shown = "{mean:.2f} [{low:.2f}, {high:.2f}]".format(**ratio) if ratio else ""
            shown = "~ " * (rows.get(method, {}).get("verdict") == "~") + shown
            assert cell.strip() == ("1" if method == "full" else shown)


def test_what_is_said_of_roberta_base_follows_from_them() -> None:
    padded, active, longest = of_roberta()[:3]

    def time(rows: dict, method: str, other: str) -> float:
        pairs = zip(rows[method]["samples_ms"], rows[other]["samples_ms"], strict=True)
        return math.exp(statistics.mean(math.log(a / b) for a, b in pairs))

    said = re.search(
        r"planned is (\S+) times as fast as regular and (\S+) times as fast as sd, and compact takes (\S+) of LoRA's\s"
        r"time with (\S+) of its peak, (\d+)% above .*takes (\S+) of LoRA's time. Take.*active planned takes "
        r"(\S+) times .*compact (\S+) of LoRA's, where the\sfrozen model itself takes (\S+); .*compact's "
        r"peak is (\S+) of",
        README,
        flags=re.DOTALL,
    )
    assert said is not None
    assert said.groups() == (
        f"{time(padded, 'sparsegrad-regular', 'sparsegrad-planned'):.1f}",
        f"{time(padded, 'sparsegrad-sd', 'sparsegrad-planned'):.1f}",
        f"{time(padded, 'sparsegrad-compact', 'lora'):.2f}",
        f"{padded['sparsegrad-compact']['peak_bytes'] / padded['lora']['peak_bytes']:.2f}",
        f"{100 * padded['sparsegrad-compact']['peak_bytes'] / padded['frozen']['peak_bytes'] - 100:.0f}",
        f"{time(padded, 'frozen-drop', 'lora'):.2f}",
        f"{time(active, 'sparsegrad-planned', 'full'):.1f}",
        f"{time(active, 'sparsegrad-compact', 'lora'):.2f}",
        f"{time(active, 'frozen', 'lora'):.2f}",
        f"{longest['sparsegrad-compact']['peak_bytes'] / longest['lora']['peak_bytes']:.2f}",
    )
    assert 0.95 < time(longest, "sparsegrad-compact", "lora") < 1.05


def test_the_comparison_at_equal_memory_is_a_published_one() -> None:
    (one,) = read_shelf([ROOT / "reports/published/2026-11-21-xeon-sst2-memory"]).quality
    lora, compact = one.rows("lora")
    said = re.search(
        r"with 4% of the entries \((\d+)k numbers train, peak (\d+) MiB against LoRA's (\d+)\) it stands at (\S+) "
        r"against (\S+), a difference of (\S+) \[(\S+), (\S+)\], and is not inferior "
        r"by one point \(lower bound (\S+);",
        " ".join(README.split()),
    )
    assert said is not None and compact["method"] == "sparsegrad-compact" and compact["difference"]["non_inferior"]
    assert [float(figure) for figure in said.groups()] == [
        round(compact["trainable_parameters"] / 1000),
        *(round(row["peak_bytes"] / 2**20) for row in (compact, lora)),
        *(round(100 * row["headline"]["mean"], 1) for row in (compact, lora)),
        *(round(100 * compact["difference"][name], 1) for name in ("mean", "low", "high", "lower_bound")),
    ]
    assert compact["difference"]["margin"] == 0.01 and "--kept 0.04" in one.record.command


def test_the_predicted_peaks_are_those_of_published_records() -> None:
    records = [r for r in published("2026-11-21-predicted") if r["config"]["model"] == "llama-2-7b"]
    found = {(r["config"]["method"], r["config"]["fixed_basis"]): r["result"] for r in records}
    assert {r["config"]["kept"] for r in records} == {100_000}
    told = re.findall(
        r"^\| ([a-z-]+)(?:,? \(?([a-z-]+)[^|]*)? \| ([0-9,]{6}) \| ([0-9.]+) \| (\d+) \| ([0-9.]+)M? \|",
        README,
        flags=re.MULTILINE,
    )
    assert len(told) == 5
    for method, basis, mebibytes, ratio, adapter, trains in told:
        result = found[method, "shared" if basis == "shared" else "per-block"]
        assert mebibytes == f"{result['peak_bytes'] / 2**20:,.0f}"
        assert float(ratio) == pytest.approx(result["peak_bytes"] / found["lora", "per-block"]["peak_bytes"], abs=5e-4)
        assert adapter == f"{result['adapter_bytes'] / 2**20:.0f}"
        assert float(trains) == round(result["trainable_parameters"] / 1e6, 1)


SHAPES = ("2026-11-21-xeon", "2026-11-21-xeon-bert-base", "2026-11-21-xeon-roberta-base")


def span(values: Iterable[float], digits: int = 2) -> str:
    """``0.38 to 0.40``; ``0.97`` where both are that."""
    told = sorted(f"{value:.{digits}f}" for value in values)
    return told[0] if told[0] == told[-1] else f"{told[0]} to {told[-1]}"


def test_what_was_found_of_cost_is_what_records_hold() -> None:
    """Padded, at three shapes: the range of each ratio that the first section names."""
    tables = [{row["method"]: row for row in r["result"]["rows"]} for r in map(padded_run, SHAPES)]

    def speeds(method: str) -> str:
        return span(rows[method]["ratio_to_full"]["mean"] for rows in tables)

    def peaks(*methods: str) -> str:
        return span(rows[m]["peak_bytes"] / rows["full"]["peak_bytes"] for rows in tables for m in methods)

    found = README.split("## What we found")[1].split("\n## ")[0].replace("\n  ", " ")
    regular, sd = "sparsegrad-regular", "sparsegrad-sd"
    assert (
        f"`{regular}` runs at {speeds(regular)} of full's speed, `{sd}` at {speeds(sd)}, with {peaks(regular, sd)} of"
        in found
    )
    assert f"{speeds('sparsegrad-planned')} times full's speed padded" in found
    compact = "sparsegrad-compact"
    assert f"{speeds(compact)} times full's speed with {peaks(compact)} of its peak" in found
    for rows in tables:
        assert rows[compact]["ratio_to_full"]["low"] > rows["lora"]["ratio_to_full"]["high"]
        assert rows[compact]["peak_bytes"] < rows["lora"]["peak_bytes"]
    assert f"{of_roberta()[1]['sparsegrad-planned']['ratio_to_full']['mean']:.2f} with every token active" in found


def padded_run(folder: str) -> dict:
    """The folder's one run of the padded setting with all the methods."""
    runs = [r for r in published(folder) if r["kind"] == "speed"]
    return max(runs, key=lambda r: len(r["result"]["rows"]))


def test_what_the_sparse_product_wins_is_what_records_hold() -> None:
    cells = [r for r in published("2026-11-21-xeon-crossover") if r["config"]["kept"] == 5898]

    def factors(part: str, active: float) -> str:
        return span(r["result"]["sd_benefit"][part]["mean"] for r in cells if r["config"]["active"] == active)

    found = " ".join(README.split("## What we found")[1].split("\n## ")[0].split())
    assert f"it is {factors('total', 0.1)} times as fast as the regular product" in found
    assert f"{factors('rest', 0.1)} is left; with every token real {factors('total', 1.0)} (" in found


def test_the_verdicts_are_the_page_s() -> None:
    """A claim's row here and in the published page's ledger end in one verdict; figures and counts are there."""
    page = (ROOT / "reports/published/page/report.md").read_text()
    rows = re.findall(r"^\| (C\d+) \|(?:[^|]*\|){3}([^|]*)\| ([a-z ]+) \|(.*)\|$", page, flags=re.MULTILINE)
    ledger = {claim: verdict for claim, _, verdict, _ in rows}
    behind = {claim: measured + why for claim, measured, _, why in rows}
    told = re.findall(r"^\| (C\d+) \|[^|]*\|([^|]*)\| ([a-z ]+) \|$", README, flags=re.MULTILINE)
    assert len(ledger) == 20
    assert {claim: verdict for claim, _, verdict in told} == {c: v for c, v in ledger.items() if v != "not tested here"}
    for verdict, number in Counter(ledger.values()).items():
        assert f"{number} {verdict}" in README
    for claim, here, _ in told:
        assert all(figure in behind[claim] for figure in re.findall(r"[0-9]+\.[0-9]+%?", here)), claim


def test_the_levels_of_kept_entries_are_those_of_a_published_sweep() -> None:
    shelf = read_shelf([ROOT / "reports/published/2026-11-21-xeon-cola"])
    (sweep,) = shelf.sweeps
    runs = [run for one in shelf.quality for own in one.runs.values() for run in own]
    again = restated(sweep.record, runs, shelf.quality)
    assert again is not None
    rows = {row["method"]: row for row in again["rows"]}
    told = re.findall(
        r"^\| (\d+k|dense)(?:: [a-z -]+)? \| ([0-9.]+) \| ([^|]*)\| ([^|]*)\|$", README, flags=re.MULTILINE
    )
    assert [level for level, *_ in told] == list(rows)
    for level, score, difference, p in told:
        assert score == f"{100 * rows[level]['headline']['mean']:.1f}"
        if level != "dense":
            gap = {name: 100 * rows[level]["difference"][name] for name in ("mean", "low", "high")}
            assert difference.strip() == "{mean:.1f} [{low:.1f}, {high:+.1f}]".format(**gap).replace("+-", "-")
            assert p.strip() == f"{rows[level]['difference']['p_holm']:.2g}"
    (verdict,) = again["verdicts"]
    loss = {name: -100 * verdict["loss"][end] for name, end in (("mean", "mean"), ("low", "high"), ("high", "low"))}
    said = " ".join(README.split())
    begins, size = verdict["loss_at"], "{mean:.1f} points [{low:.1f}, {high:.1f}]".format(**loss)
    assert f"Keeping {begins} of a layer's 590k entries on CoLA costs {size} against keeping all" in said
    assert f"from {verdict['from_kept']} on no loss is found" in said
    seen = f"{100 * verdict['could_see']:.0f} points"
    assert f"at {begins} a loss, from {verdict['from_kept']} on none is found, of {seen} it would have been" in said
    assert f"{' and '.join(verdict['idle'])} themselves are not told from one answer given to all" in said


TASKS = ("cola", "rte", "sst2", "stsb")


def over_tasks() -> dict[str, list[str]]:
    """Of the published page's table over the tasks, which other tests hold to the records: method -> its cells."""
    page = (ROOT / "reports/published/page/report.md").read_text()
    (table,) = re.findall(r"^\| method \| cola, mcc, points .*\n\|.*\n((?:\|.*\n)+)", page, flags=re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {method: cells for method, *cells in rows}


def test_the_table_of_tasks_is_the_page_s() -> None:
    rows = over_tasks()
    for method, (*cells, mean) in rows.items():
        pairs = zip(cells[: len(TASKS)], cells[len(TASKS) :], strict=True)
        told = [score if method == "full" else f"{score}<br>{difference}" for score, difference in pairs]
        assert f"| {method} | {' | '.join(told)} | {'' if method == 'full' else mean + ' '}|\n" in README
    found = " ".join(README.split("## What we found")[1].split("\n## ")[0].split())
    assert (
        f"to full {rows['sparsegrad-planned'][-1].removeprefix('~ ')}, compact {rows['sparsegrad-compact'][-1][2:]}"
        in found
    )


FOLDERS = {"cola": "xeon-cola", "rte": "xeon-rte", "sst2": "cpu-sst2", "stsb": "xeon-stsb"}


@pytest.mark.slow
def test_what_is_said_of_the_paper_s_method_against_lora_follows_from_the_runs() -> None:
    """Paired anew from the items of the published runs, by the test of the report: one task of four tells."""
    said = " ".join(README.split("## What we found")[1].split("\n## ")[0].split())
    verdicts = {}
    for task, folder in FOLDERS.items():
        shelf = read_shelf([ROOT / f"reports/published/2026-11-21-{folder}"])
        (one,) = (one for one in shelf.quality if one.task == task and "lora" in one.runs)
        (row,) = (row for row in one.rows("lora") if row["method"] == "sparsegrad-planned")
        verdicts[task] = row["verdict"]
        if row["verdict"] == "worse":
            behind = {"mean": "mean", "low": "high", "high": "low"}
            gap = {name: -100 * row["difference"][end] for name, end in behind.items()}
            assert "is behind LoRA by {mean:.1f} points [{low:.1f}, {high:.1f}] on SST-2".format(**gap) in said
    assert verdicts == {"cola": "~", "rte": "~", "sst2": "worse", "stsb": "~"}
    assert "not told apart from it on the other three" in said
