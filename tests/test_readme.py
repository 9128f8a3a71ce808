"""What the README shows is run: its Python blocks as written, its commands as dry runs; its figures are records'."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_the_table_is_one_that_a_record_holds() -> None:
    """No figure without its record: the README's steps a second are those of a published one."""
    records = [json.loads(path.read_text()) for path in (ROOT / "reports/published").glob("*/speed/*.json")]
    told = re.findall(r"^│(\S+) +│ +([0-9.]+) │", README, flags=re.MULTILINE)
    assert len(told) == 7 and "<!--" not in README
    tables = [[(row["method"], f"{row['steps_per_s']:.3g}") for row in r["result"]["rows"]] for r in records]
    assert told in tables


def published(folder: str) -> list[dict]:
    return [json.loads(path.read_text()) for path in (ROOT / "reports/published" / folder).glob("*/*.json")]


def test_the_accuracies_are_those_of_published_records() -> None:
    runs = [r for r in published("2026-11-21-cpu-sst2") if r["config"].get("scored_on") == "reported"]
    told = dict(re.findall(r"^\| (\S+)(?: \([^|]*\))? \| [0-9.]+[Mk] \| ([0-9.]+) \|", README, flags=re.MULTILINE))
    assert len(told) == 5 and all(run["status"] == "ok" for run in runs)
    for method, accuracy in told.items():
        scores = [
            run["result"]["splits"]["validation"]["headline"] for run in runs if run["config"]["method"] == method
        ]
        assert len(scores) == 3 and accuracy == f"{100 * sum(scores) / 3:.1f}"


def test_the_predicted_peaks_are_those_of_published_records() -> None:
    records = [r for r in published("2026-11-21-predicted") if r["config"]["model"] == "llama-2-7b"]
    peaks = {(r["config"]["method"], r["config"]["fixed_basis"]): r["result"]["peak_bytes"] for r in records}
    told = re.findall(
        r"^\| ([a-z-]+)(?:,? \(?([a-z-]+)[^|]*)? \| ([0-9,]{6}) \| ([0-9.]+) \|", README, flags=re.MULTILINE
    )
    assert len(told) == 5
    for method, basis, mebibytes, ratio in told:
        peak = peaks[method, "shared" if basis == "shared" else "per-block"]
        assert mebibytes == f"{peak / 2**20:,.0f}"
        assert float(ratio) == pytest.approx(peak / peaks["lora", "per-block"], abs=5e-4)
