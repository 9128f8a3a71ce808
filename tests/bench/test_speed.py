"""python -m bench.speed from end to end, on a model small enough to wait for: what it prints and keeps.

Commands run as users run them where the process matters (streams, signals, two at once); else main runs here.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.record import Status
from bench.speed import main
from bench.store import Store
from sparsegrad.methods import METHODS
from tests.bench.speed_run import KEPT, LINEARS, ROUNDS, STEPS, WARMUP, Two, files, run_here, strict, words


def test_two_at_once_both_finish_and_every_record_is_whole(two: Two) -> None:
    assert (two.json.code, two.table.code) == (0, 0), two.json.err + two.table.err
    records, damaged = Store(two.out).read_all()
    assert not damaged and all(record.status is Status.OK for record in records)
    assert {record.kind for record in records} == {"calibration", "peak", "speed"}
    assert {record.config["method"] for record in records if record.kind == "peak"} == set(METHODS)
    assert not [name for name in files(two.out) if name.endswith(".tmp")]


def test_json_is_the_whole_of_stdout_and_quiet_is_silent(two: Two) -> None:
    assert two.json.err == ""
    told = strict(two.json.out)
    assert told["status"] == "ok" and told["reason"] is None
    assert [row["method"] for row in told["rows"]] == list(METHODS)
    for row in told["rows"]:
        assert row["status"] == "ok" and row["reason"] is None
        assert row["steps_per_s"] > 0
        assert row["ratio_to_full"].keys() == {"mean", "low", "high", "rounds"}
        assert row["ratio_to_full"]["low"] <= row["ratio_to_full"]["mean"] <= row["ratio_to_full"]["high"]
        assert isinstance(row["peak_bytes"], int) and row["peak_bytes"] > 0
        assert row["peak_instrument"] == "tracked"
        assert len(row["samples_ms"]) == len(row["samples_by_phase_ms"]) == ROUNDS
        assert len(row["losses"]) == WARMUP + ROUNDS * STEPS
        method = METHODS[row["method"]]
        coo = method.basis is not None and not method.fixed
        kept = {"layers": LINEARS, "least": KEPT, "most": KEPT, "sum": LINEARS * KEPT}
        assert row["kept_entries"] == (kept if coo else None)
        assert (row["calibration_s"] is not None) == (method.basis not in (None, "none"))
        assert 0 < row["tokens_per_s"] / row["steps_per_s"] < 2 * 16, "of a step's batch, what is not padding"
        assert isinstance(row["adapter_bytes"], int) and (row["adapter_bytes"] > 0) == method.trains
    assert told["rows"][0]["ratio_to_full"]["mean"] == 1.0
    assert [calibration["basis"] for calibration in told["calibrations"]] == ["shared", "per-block"]
    for calibration in told["calibrations"]:
        assert calibration["status"] == "ok" and calibration["calibration_s"] > 0 and calibration["steps"] == 2
        assert calibration["peak_bytes"] > 0
    assert len(told["aa"]["samples_ms"]) == ROUNDS
    assert 0 < told["zero_row_share"] < 1


def test_equal_mathematics_shows_in_the_losses(two: Two) -> None:
    """All start at one loss; sd follows regular; full and its second run are one sequence."""
    told = strict(two.json.out)
    rows = {row["method"]: row for row in told["rows"]}
    assert all(row["losses"][0] == pytest.approx(rows["full"]["losses"][0], rel=1e-5) for row in rows.values())
    pairs = {(pair["method"], pair["over"]): pair for pair in told["pairs"]}
    assert list(pairs) == [(name, other) for name, method in METHODS.items() for other in method.beside]
    assert len(pairs) == len(told["pairs"])
    for (name, other), pair in pairs.items():
        assert pair["steps"] == WARMUP + ROUNDS * STEPS
        assert pair["peak_ratio"] == rows[name]["peak_bytes"] / rows[other]["peak_bytes"]
        if METHODS[name].same_as == other:
            assert pair["largest_loss_difference"] <= 1e-4
        else:
            assert pair["largest_loss_difference"] is None
    assert {(name, m.same_as) for name, m in METHODS.items() if m.same_as} <= pairs.keys()


def test_the_table_is_on_stdout_and_names_its_record(two: Two) -> None:
    lines = two.table.out.splitlines()
    assert lines[0].startswith("tiny (random weights), synthetic lengths lognormal:10.7:0.33, batch 2 x 16")
    assert [line.split()[0].lstrip("│") for line in lines if line.startswith("│")] == list(METHODS)
    assert lines[-1].startswith(f"record: {two.out}/speed/") and lines[-1].endswith(".json")
    assert list(two.out.glob(lines[-1].removeprefix(f"record: {two.out}/")))
    assert "Traceback" not in two.table.err and "Warning" not in two.table.err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_without_cuda_nothing_claims_a_cuda_figure(two: Two) -> None:
    def walk(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(key, item)
        elif isinstance(value, list):
            for item in value:
                walk(name, item)
        elif isinstance(value, str):
            assert "cuda" not in value.lower() or name == "command", (name, value)
        elif any(word in name.lower() for word in ("cuda", "gpu", "reserved", "requested", "allocated")):
            assert value is None, (name, value)

    told = strict(two.json.out)
    environment = told.pop("environment")
    assert environment["gpu"] is None
    walk("", told)
    for line in two.table.out.splitlines():
        assert "CUDA" not in line.upper() or "not CUDA memory" in line
        assert "allocated" not in line and "reserved" not in line


def test_a_rerun_measures_nothing_and_says_so(
    two: Two, speed_model: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another process than the first: the key has to be the same in all."""
    monkeypatch.setattr("bench.cells.run_fresh", None)
    monkeypatch.setattr("bench.race.interleave", None)
    before = files(two.out)
    assert main(words(speed_model, two.out, "--json")) == 0
    out, err = capfd.readouterr()
    assert "measured already" in err and "--fresh" in err and len(err.splitlines()) == 1
    assert strict(out)["rows"] == Store(two.out).find("speed", strict(out)["key"]).result["rows"]  # type: ignore[union-attr]
    assert main(words(speed_model, two.out)) == 0
    again = capfd.readouterr()
    assert again.out.splitlines()[0].startswith("tiny (random weights)") and again.err == err
    assert main(words(speed_model, two.out, "--json", "--quiet")) == 0
    assert capfd.readouterr() == (out, "")
    assert files(two.out) == before


def test_fresh_adds_and_replaces_nothing(measured: Path, speed_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = files(measured)
    assert main(words(speed_model, measured, "--fresh", "--json", "--quiet", "--methods", "lora")) == 0
    after = files(measured)
    assert all(after[name] == content for name, content in before.items() if name.endswith(".json"))
    kinds = sorted(name.split("/")[0] for name in after.keys() - before.keys())
    assert kinds == ["peak"] * 3 + ["speed"], "lora, and the two rows of every table"
    out, err = capfd.readouterr()
    assert [row["method"] for row in strict(out)["rows"]] == ["full", "lora", "frozen"] and err == ""
    assert strict(out)["calibrations"] == [], "nobody asked for bases"


def test_fresh_calibrates_once_for_all_who_ask_alike(
    measured: Path, speed_model: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shared and per-block bases, of three methods, anew: two calibrations."""
    monkeypatch.setattr("bench.cells.run_fresh", run_here)
    before = files(measured)
    asking = ("sparsegrad-regular", "sparsegrad-sd", "sparsegrad-compact")
    assert main(words(speed_model, measured, "--fresh", "--json", "--quiet", "--methods", *asking)) == 0
    made = sorted(name.split("/")[0] for name in files(measured).keys() - before.keys())
    assert made == ["calibration"] * 2 + ["peak"] * 5 + ["speed"], "the bases' files are written again in place"
    told = strict(capfd.readouterr().out)
    assert [calibration["basis"] for calibration in told["calibrations"]] == ["shared", "per-block"]
    seconds = {row["method"]: row["calibration_s"] for row in told["rows"]}
    assert seconds["sparsegrad-regular"] == seconds["sparsegrad-sd"] != seconds["sparsegrad-compact"]


def test_a_dry_run_measures_nothing(
    two: Two, speed_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.cells.run_fresh", None)
    monkeypatch.setattr("bench.speed.measure", None)
    assert main(words(speed_model, tmp_path / "new", "--dry-run")) == 0
    planned = capfd.readouterr().out.splitlines()
    assert len(planned) == 2 + len(METHODS) + 2  # the rounds, and the time
    assert planned[:2] == [
        "calibration of sparsegrad-regular, sparsegrad-sd, sparsegrad-planned (2 batches): to be measured",
        "calibration of sparsegrad-compact (2 batches): to be measured",
    ]
    assert all(line.endswith("to be measured") for line in planned[:-1]) and planned[-1].startswith("time: about")
    assert not list(tmp_path.iterdir()), "not even the folder is made"
    before = files(two.out)
    assert main(words(speed_model, two.out, "--dry-run")) == 0
    *done, time = capfd.readouterr().out.splitlines()
    assert all("measured already" in line for line in done) and time == "time: about 0 s"
    assert main(words(speed_model, two.out, "--dry-run", rounds=ROUNDS + 1)) == 0
    states = ["measured already" in line for line in capfd.readouterr().out.splitlines()[:-1]]
    assert states == [True] * (2 + len(METHODS)) + [False], "of another number of rounds only the speed is left to do"
    assert files(two.out) == before


def test_an_out_with_brackets_is_printed_as_it_is(
    two: Two, speed_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(two.out, tmp_path / "[red]runs")
    assert main(words(speed_model, out)) == 0
    assert f"record: {out}/speed/" in capfd.readouterr().out
