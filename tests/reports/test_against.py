"""Laws of before and after: the same is no change, a planted loss is found, another machine is not compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.record import Record
from bench.store import Store
from reports.against.both import changes
from reports.against.change import Change
from reports.reading.shelf import read_shelf
from tests.reports.small_records import CPU, peak, quality, speed


def noisy(seed: int, factor: float = 1.0) -> list[float]:
    return (100 * factor * np.exp(0.01 * np.random.default_rng(seed).standard_normal(8))).tolist()


def run(seed: int, *, lora: float = 1.0, all_alike: float = 1.0) -> Record:
    times = {"full": noisy(seed, all_alike), "lora": noisy(seed + 1, lora * all_alike)}
    return speed(times, aa=noisy(seed + 2, all_alike))


def compared(tmp_path: Path, before: list[Record], after: list[Record]) -> dict[tuple[str, str], Change]:
    for name, records in (("before", before), ("after", after)):
        for one in records:
            Store(tmp_path / name).write(one)
    shelves = [read_shelf([tmp_path / name]) for name in ("before", "after")]
    return {(change.method, change.what): change for change in changes(*shelves)}


def test_the_same_against_itself_is_no_change(tmp_path: Path) -> None:
    found = compared(tmp_path, [run(0), peak("full", 1000)], [run(0), peak("full", 1000)])
    assert {change.told for change in found.values()} == {"~"}
    assert set(found) == {("full", "step time"), ("lora", "step time over full's"), ("full", "peak, tracked")}


@pytest.mark.parametrize("seed", range(0, 40, 4))
def test_two_runs_of_the_same_thing_raise_no_alarm(tmp_path: Path, seed: int) -> None:
    found = compared(tmp_path, [run(seed)], [run(seed + 1000)])
    assert not [change for change in found.values() if change.told != "~"]


def test_a_planted_slowdown_is_a_regression_with_its_effect(tmp_path: Path) -> None:
    found = compared(tmp_path, [run(0)], [run(100, lora=1.2)])
    slow = found["lora", "step time over full's"]
    assert slow.regression and slow.low > 1.1 < slow.value < slow.high
    assert slow.effect is not None and slow.effect > 2
    assert found["full", "step time"].told == "~"
    other = compared(tmp_path / "faster", [run(0)], [run(100, lora=0.8)])
    assert other["lora", "step time over full's"].told == "better"


def test_a_slower_day_slows_full_and_leaves_the_others_ratios(tmp_path: Path) -> None:
    found = compared(tmp_path, [run(0)], [run(100, all_alike=1.3)])
    assert found["full", "step time"].regression
    assert found["lora", "step time over full's"].told == "~"


def test_peaks_count_from_one_percent(tmp_path: Path) -> None:
    before = [peak("full", 100_000), peak("lora", 100_000), peak("meprop", 100_000)]
    after = [peak("full", 100_900), peak("lora", 101_100), peak("meprop", 90_000)]
    found = compared(tmp_path, before, after)
    assert [found[name, "peak, tracked"].told for name in ("full", "lora", "meprop")] == ["~", "worse", "better"]


def test_another_machine_or_workload_is_not_compared(tmp_path: Path) -> None:
    elsewhere = speed({"full": noisy(0)}, environment={**CPU, "cpu": "Sundial"})
    other_text = speed({"full": noisy(0)}, key="text", fingerprints={"data": "other", "model": "0de1", "code": "c0de"})
    assert compared(tmp_path, [run(0)], [elsewhere, other_text]) == {}


def test_other_code_and_libraries_are_what_is_compared(tmp_path: Path) -> None:
    fingerprints = {**run(0).fingerprints, "code": "newer"}
    newer = replace(run(0), fingerprints=fingerprints, environment={**CPU, "libraries": {"torch": "3"}})
    assert ("full", "step time") in compared(tmp_path, [run(0)], [newer])


def test_quality_is_paired_by_item_and_seed(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 300)
    predictions = {seed: np.where(draw.random(300) < 0.9, labels, 1 - labels) for seed in range(3)}

    def runs(spoiled: float) -> list[Record]:
        wrong = np.arange(300) < 300 * spoiled
        return [
            quality("lora", seed, np.where(wrong, 1 - labels, said).tolist(), labels.tolist())
            for seed, said in predictions.items()
        ]

    found = compared(tmp_path, runs(0), runs(0.1))["lora", "quality, sst2 validation"]
    assert found.regression and -10 < found.value < -6
    same = compared(tmp_path / "same", runs(0), runs(0))["lora", "quality, sst2 validation"]
    assert (same.told, same.value) == ("~", 0.0)


def test_json_has_no_infinity(tmp_path: Path) -> None:
    labels = [0, 1, 0, 1]
    found = compared(tmp_path, [quality("lora", 0, labels, labels)], [quality("lora", 0, [1, 1, 0, 1], labels)])
    (change,) = found.values()
    assert (change.as_json()["low"], change.as_json()["high"], change.told) == (None, None, "~")
