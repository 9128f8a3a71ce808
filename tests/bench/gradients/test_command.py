"""python -m bench.gradients as people meet it: pieces, resume, failures, words."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import bench.gradients.pieces
from bench.cli import run
from bench.fresh import Outcome
from bench.gradients.__main__ import main
from bench.gradients.figures import FIGURE_NAMES
from bench.gradients.preliminary import settled
from bench.gradients.words import PROG
from bench.record import Status
from bench.store import Store
from tests.bench.sample import temporaries
from tests.bench.speed_run import files, run_here, strict

LINE = "--random-weights --batch-size 2 --max-length 16 --calibration-steps 2 --device cpu --quiet"
READ = "--steps 2 --read-every 2 --kept 5"


def words(folder: Path, out: Path, *more: str) -> list[str]:
    # The machine that runs the tests may be busy.
    read = ["--drift", "note"] if "--preliminary" in more else READ.split()
    return ["--model", str(folder), *LINE.split(), *read, "--out", str(out), *more]


def asked(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of the command, run as it is from a shell."""
    monkeypatch.setattr(sys, "argv", ["gradients", *argv])
    with pytest.raises(SystemExit) as end:
        run(main, PROG)
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.gradients.run.run_fresh", run_here)
    monkeypatch.setattr("bench.cells.run_fresh", run_here)


def test_a_dry_run_names_the_pieces_and_writes_nothing(
    speed_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(speed_model, tmp_path / "out", "--dry-run", "--json")) == 0
    told = strict(capsys.readouterr().out)
    assert [name for name in told if told[name] == "to be measured"] == list(told)[:5]
    assert "about" in told["time"]
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_run_is_five_records_and_its_figures_and_the_same_again_is_no_work(
    speed_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = words(speed_model, tmp_path, "--json")
    assert main(argv) == 0
    told = strict(capsys.readouterr().out)
    assert told["status"] == "ok" and told["kind"] == "gradients"
    assert {Path(path).stem for path in told["figures"]} == set(FIGURE_NAMES)
    assert all(Path(path).stat().st_size > 1000 for path in told["figures"])
    records, damaged = Store(tmp_path).read_all()
    kinds = [record.kind for record in records]
    assert (kinds.count("gradients_bases"), kinds.count("gradients_supports"), kinds.count("gradients")) == (3, 1, 1)
    assert damaged == []
    before = files(tmp_path)
    Path(told["figures"][0]).unlink()  # drawn again from the records, to the byte

    def refuse(*_: Any) -> Outcome:
        raise AssertionError("measured again")

    monkeypatch.setattr("bench.gradients.run.run_fresh", refuse)
    assert main(argv) == 0
    assert strict(capsys.readouterr().out) == told
    assert files(tmp_path) == before
    assert main([word for word in argv if word not in ("--json", "--quiet")]) == 0
    shown = capsys.readouterr()
    assert "read already" in shown.err and "per-block" in shown.out and "exactly zero" in shown.out


def test_a_run_that_ends_midway_loses_only_the_piece_in_flight(
    speed_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []
    kills = [bench.gradients.pieces.measure_training]

    def until(function: Any, *args: Any) -> Outcome:
        measured.append(function.__name__)
        if function in kills:
            kills.clear()
            raise KeyboardInterrupt
        return run_here(function, *args)

    monkeypatch.setattr("bench.gradients.run.run_fresh", until)
    monkeypatch.setattr("bench.gradients.__main__.draw", lambda *_: [tmp_path / "figure.svg"])
    argv = words(speed_model, tmp_path)
    assert asked(argv, monkeypatch) == 130
    assert asked(argv, monkeypatch) == 0
    assert measured == ["measure_bases"] * 3 + ["measure_supports"] + ["measure_training"] * 2
    measured.clear()
    assert asked([*argv, "--kept", "6"], monkeypatch) == 0  # the bases serve other supports
    assert measured == ["measure_supports", "measure_training"]


@pytest.mark.parametrize("spoilt", ["cut short", "empty", "no such file", "other bytes at its head", "a bit"])
def test_a_damaged_piece_is_made_again_and_what_rests_on_it_is_the_same(
    spoilt: str, speed_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of bases and of supports; while the readings are there neither is asked for."""
    measured: list[str] = []

    def seen(function: Any, *args: Any) -> Outcome:
        measured.append(function.__name__)
        return run_here(function, *args)

    monkeypatch.setattr("bench.gradients.run.run_fresh", seen)
    monkeypatch.setattr("bench.gradients.__main__.draw", lambda *_: [tmp_path / "figure.svg"])
    argv = words(speed_model, tmp_path, "--json")
    assert main(argv) == 0
    told = strict(capsys.readouterr().out)
    whole = {path: path.read_bytes() for path in sorted((tmp_path / "bases").glob("*.safetensors"))}
    assert len(whole) == 4
    for path, content in whole.items():
        damage(path, content, spoilt)
    measured.clear()
    assert main([*argv, "--dry-run"]) == 0
    plan = strict(capsys.readouterr().out)
    assert plan.pop("time") == "nothing is left to do" and all("measured already" in it for it in plan.values())
    assert main(argv) == 0 and measured == [] and strict(capsys.readouterr().out) == told
    for path in (tmp_path / "gradients").glob("*.json"):
        path.unlink()
    assert main([*argv, "--dry-run"]) == 0
    assert list(strict(capsys.readouterr().out).values())[:5] == ["to be measured"] * 5
    assert main(argv) == 0
    assert measured == ["measure_bases"] * 3 + ["measure_supports", "measure_training"]
    assert strict(capsys.readouterr().out)["rows"] == told["rows"]
    assert {path: path.read_bytes() for path in whole} == whole
    assert temporaries(tmp_path) == []


def damage(path: Path, content: bytes, how: str) -> None:
    """In a new file: tensors that were read may still lie in the pages of the old one."""
    path.unlink()
    spoilt = {
        "cut short": content[:-7],
        "empty": b"",
        "other bytes at its head": b"\xff" * 16 + content[16:],
        "a bit": bytes((*content[:-20], content[-20] ^ 1, *content[-19:])),
    }
    if how in spoilt:
        path.write_bytes(spoilt[how])


def test_a_piece_that_fails_is_why_there_are_no_readings(
    speed_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(function: Any, *args: Any) -> Outcome:
        if function is bench.gradients.pieces.measure_supports:
            return Outcome(status=Status.OOM, reason="too little of it")
        return run_here(function, *args)

    monkeypatch.setattr("bench.gradients.run.run_fresh", out_of_memory)
    assert asked(words(speed_model, tmp_path), monkeypatch) == 1
    (record,) = Store(tmp_path).read_all("gradients")[0]
    assert record.status is Status.OOM
    assert record.reason == "no fixed supports: too little of it"
    assert not (tmp_path / "figures").exists()


def test_training_that_goes_astray_is_an_error_and_no_number(
    speed_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = words(speed_model, tmp_path, "--lr", "1e30", "--steps", "4")
    assert asked(argv, monkeypatch) == 1
    (record,) = Store(tmp_path).read_all("gradients")[0]
    assert record.status is Status.ERROR
    assert "lower --lr" in (record.reason or "")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--block", "9"], "--block 9"),
        (["--read-every", "3"], "--read-every 3 never comes"),
        (["--kept", "600"], "--kept 600"),
        (["--core", "1", "2"], "--core 1 2"),
        (["--steps", "x"], "--steps"),
        (["--preliminary", "--block", "0"], "--block has no use with --preliminary"),
        (["--preliminary", "--kept", "5"], "--kept has no use with --preliminary"),
        (["--preliminary", "--lr=1e-3"], "--lr has no use with --preliminary"),
        (["--drift", "note"], "--drift note is of the timed phase: add --preliminary"),
        (["--methods", "full"], "--methods"),
    ],
)
def test_a_wrong_word_is_one_line_and_writes_nothing(
    more: list[str],
    said: str,
    speed_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert asked(words(speed_model, tmp_path / "out", *more), monkeypatch) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_preliminary_phase_is_measured_both_ways_and_computed_for_llama(
    speed_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(speed_model, tmp_path, "--preliminary", "--json")) == 0
    told = strict(capsys.readouterr().out)
    for mode in ("streamed", "stacked"):
        assert told[mode]["how"] == "measured" and told[mode]["calibration_s"] > 0
        assert told[mode]["instrument"] == "tracked"
        assert len(told[mode]["batches_s"]) == 2 and len(told[mode]["machine"]["readings"]) == 2
        assert told[mode]["stack_bytes_by_role"] == dict.fromkeys(("intermediate.dense", "output.dense"), 2 * 2 * 2048)
    # 30 steps x 11 blocks x 4096 x 11008 entries of 4 bytes, a role.
    assert told["llama"]["how"] == "computed, not measured"
    assert set(told["llama"]["stack_bytes_by_role"].values()) == {30 * 11 * 4096 * 11_008 * 4}
    assert main(words(speed_model, tmp_path, "--preliminary")) == 0
    printed = capsys.readouterr().out
    assert "computed, not measured" in printed and "time: each way is made once: no interval" in printed


def test_a_stack_that_does_not_fit_is_computed_and_says_so(
    speed_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.gradients.preliminary.free_bytes", lambda: 1000)
    assert main(words(speed_model, tmp_path, "--preliminary", "--json")) == 0
    told = json.loads(capsys.readouterr().out)["stacked"]
    assert (told["how"], told["peak_bytes"], told["calibration_s"]) == ("computed, not measured", None, None)
    assert told["needed_bytes"] > told["free_bytes"] == 1000


def test_a_busy_machine_makes_the_phase_invalid_and_its_bytes_stand(
    speed_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reason and raw times of the batches are shown in place of a figure; the same command measures again."""
    why = "the processor stood at 99 C (bound 95 C)"
    argv = [*words(speed_model, tmp_path, "--preliminary"), "--drift", "invalid"]
    with monkeypatch.context() as patched:
        patched.setattr("bench.calibration.machine_reasons", lambda *_: [why])
        assert main(argv) == 1
        printed = capsys.readouterr().out
        for mode in ("streamed", "stacked"):
            (cells,) = (line.split("│")[1:-1] for line in printed.splitlines() if line.startswith(f"│{mode} "))
            assert cells[2].strip() == "invalid" and "MiB" in cells[3] and cells[-1].strip() == "measured"
            assert f"{mode}: invalid: {why} (--drift note" in printed and f"{mode}, s a batch: " in printed
        assert main([*argv, "--drift", "note"]) == 0
        assert f"not to be trusted, stacked: {why}." in capsys.readouterr().out
    records, _ = Store(tmp_path).read_all("preliminary")
    lost = [record.result for record in records if record.status is Status.INVALID]
    assert len(lost) == 2 and all(read["calibration_s"] is None and len(read["batches_s"]) == 2 for read in lost)
    assert main(argv) == 0
    failed = Outcome(status=Status.OOM, reason="MemoryError")
    assert settled(failed, "invalid") is failed
