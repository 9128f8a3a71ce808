"""Laws of reading: hundreds of records at once, and whatever is no record is listed with its reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BadRequest
from bench.record import Status
from bench.store import Store
from reports.reading.folders import read_folders, stores
from reports.reading.others import key_figures
from reports.reading.shelf import read_shelf
from reports.tables.cost import speed_table
from tests.reports.small_records import CPU, peak, quality, record, speed

TIMES = {"full": [10.0, 11.0, 10.5], "lora": [9.0, 9.9, 9.45]}


def test_every_record_comes_once_wherever_its_folder_lies(tmp_path: Path) -> None:
    for name in ("one", "two"):
        Store(tmp_path / "published" / name).write(speed(TIMES))  # the same run, copied
    Store(tmp_path / "published" / "two").write(peak("full", 1000))
    shelf = read_shelf([tmp_path / "published"])
    assert [path.name for path in stores(tmp_path / "published")] == ["one", "two"]
    assert (len(shelf.sources), len(shelf.speed), len(shelf.peaks), shelf.skipped) == (2, 1, 1, [])
    assert len(read_shelf([tmp_path / "published" / "two"]).sources) == 2


def test_what_is_no_record_is_listed_with_its_reason(tmp_path: Path) -> None:
    store = Store(tmp_path / "r")
    good = store.write(speed(TIMES))
    whole = json.loads(good.read_text())
    damage = {
        "cut-1": good.read_text()[:100],
        "newer-1": json.dumps({**whole, "schema": 99}),
        "typed-1": json.dumps({**whole, "seed": "0"}),
        "list-1": "[1]",
        "nan-1": good.read_text().replace("0.9,", "NaN,"),
        "deep-1": "[" * 100_000,
        "wrong name": "{}",
    }
    for name, text in damage.items():
        (good.parent / f"{name}.json").write_text(text)
    shelf = read_shelf([tmp_path / "r"])
    assert len(shelf.speed) == 1
    assert {Path(one.path).stem for one in shelf.skipped} == set(damage)
    reasons = {Path(one.path).stem: one.reason for one in shelf.skipped}
    assert "newer" in reasons["newer-1"] and "cut short" in reasons["cut-1"] and "seed" in reasons["typed-1"]


def test_a_record_of_surprising_shape_is_unreadable_and_the_others_stay(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(speed(TIMES))
    negative = {"method": "full", "status": "ok", "steps_per_s": 1, "samples_ms": [-1.0]}
    surprising: list[Any] = [None, [], "html", [{}], [{"method": 3}], [negative]]
    for number, rows in enumerate(surprising):
        store.write(record("speed", f"bad{number}", result={"rows": rows}))
    shelf = read_shelf([tmp_path])
    assert len(shelf.speed) == 1
    assert len(shelf.skipped) == 6
    assert all("result.rows" in one.reason for one in shelf.skipped)


def test_failed_runs_are_told_and_unknown_kinds_keep_their_figures(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(record("peak", status=Status.OOM, reason="out of memory"))
    store.write(record("weather", result={"inner": {"rain_mm": 3.5, "deep": {"deeper": {"x": 1}}}, "days": [1, 2]}))
    shelf = read_shelf([tmp_path])
    assert [one.record.reason for one in shelf.failed] == ["out of memory"]
    assert [one.record.kind for one in shelf.others] == ["weather"]
    assert key_figures(shelf.others[0].record.result) == [("inner.rain_mm", 3.5)]


def test_figures_of_another_machine_code_or_instrument_share_no_group(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(peak("full", 1000))
    store.write(peak("lora", 800))
    others: dict[str, dict[str, Any]] = {
        "machine": {"environment": {**CPU, "cpu": "Sundial"}},
        "libraries": {"environment": {**CPU, "libraries": {"torch": "3"}}},
        "code": {"fingerprints": {"code": "other", "data": "da7a", "model": "0de1"}},
        "data": {"fingerprints": {"code": "c0de", "data": "other", "model": "0de1"}},
    }
    for name, words in others.items():
        store.write(peak("lora", 700, key=name, **words))
    store.write(peak("lora", 600, key="gauge", instrument="predicted"))
    groups = read_shelf([tmp_path]).peaks
    assert sorted(len(group.peaks) for group in groups) == [1, 1, 1, 1, 1, 2]
    assert [group.ratio("lora", "full") for group in groups if len(group.peaks) == 2] == [0.8]


def test_of_one_method_measured_twice_the_newer_counts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(peak("full", 1000, ended="2026-01-03T00:00:00+00:00"))
    store.write(replace(peak("full", 2000), ended="2026-01-02T00:00:00+00:00"))
    (group,) = read_shelf([tmp_path]).peaks
    assert group.peaks["full"].peak_bytes == 1000


def test_the_rate_that_trials_chose_is_the_one_compared(tmp_path: Path) -> None:
    store, labels = Store(tmp_path), [0, 1, 0, 1]
    for seed in (0, 1):
        store.write(quality("full", seed, [0, 1, 1, 1], labels))
        store.write(quality("lora", seed, labels, labels, lr=1e-3))  # better on what is reported, which may not choose
        store.write(quality("lora", seed, [1, 1, 1, 1], labels, lr=1e-4))
    store.write(quality("lora", 1_000_000, [1, 0, 1, 0], labels, lr=1e-3, scored_on="held out"))
    store.write(quality("lora", 1_000_000, labels, labels, lr=1e-4, scored_on="held out"))
    (one,) = read_shelf([tmp_path]).quality
    assert {run.variant[0] for run in one.runs["lora"]} == {1e-4}
    assert any("rate 0.001" in told for told in one.left_out)
    rows = {row["method"]: row for row in one.rows("full")}
    assert rows["lora"]["difference"]["mean"] == pytest.approx(-0.25)


def test_other_labels_or_another_model_under_the_same_name_are_left_out(tmp_path: Path) -> None:
    store, labels = Store(tmp_path), [0, 1, 0, 1]
    for seed in (0, 1):
        store.write(quality("full", seed, labels, labels))
    store.write(quality("lora", 0, labels, [1, 1, 0, 1]))
    store.write(quality("lora", 1, labels, labels, fingerprints={"code": "c0de", "data": "da7a", "model": "fake"}))
    (one,) = read_shelf([tmp_path]).quality
    assert set(one.runs) == {"full"}
    assert len(one.left_out) == 2


def test_an_absent_folder_is_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="--results DIR"):
        read_folders([tmp_path / "absent"])


def test_half_a_surrogate_pair_is_mended_where_it_is_read(tmp_path: Path) -> None:
    path = Store(tmp_path).write(speed(TIMES, command="python x"))
    path.write_text(path.read_text().replace("python x", "python \\ud800"))
    (found,) = read_shelf([tmp_path]).sources
    assert found.record.command == "python \ufffd"


def test_what_a_folder_says_of_itself_stands_beside_its_tables(tmp_path: Path) -> None:
    Store(tmp_path / "loud").write(speed(TIMES))
    Store(tmp_path / "still").write(speed(TIMES, key="other"))
    (tmp_path / "loud" / "NOTE.txt").write_text("Other work ran\nbeside <it>.\n")
    loud, still = sorted(read_shelf([tmp_path]).speed, key=lambda run: run.source.folder)
    assert speed_table(loud, "l").notes[-1] == "loud: Other work ran beside <it>."
    assert not any("still" in note or "beside" in note for note in speed_table(still, "s").notes)
