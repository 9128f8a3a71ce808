"""The command: the answer fits and the next does not, probes are found again, limits and failures are said."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bench.capacity.cells
from bench.capacity.__main__ import main
from bench.capacity.cells import NOT_ASKED
from bench.capacity.probe import predicted_bytes
from bench.cli import request_of
from bench.errors import BadRequest
from bench.fresh import Outcome
from bench.record import Status
from bench.speed import parser

KIB = 2**10
Told = dict[str, dict[str, Any]]


def shape(folder: Path) -> list[str]:
    return ["--model", str(folder), "--random-weights", "--device", "cpu", "--methods", "lora"]


@pytest.fixture
def search(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """Run the command on a tiny model; its JSON."""

    def run(*words: str, code: int = 0) -> Told:
        assert main([*shape(folder), "--out", str(tmp_path), "--quiet", "--json", *words]) == code
        told: Told = json.loads(capsys.readouterr().out)
        return told

    return run


def test_the_batch_found_fits_and_the_next_does_not(search: Callable[..., Told], folder: Path) -> None:
    told = search("--max-length", "16", "--budget", "900KiB")
    assert set(told) == {"full", "lora", "frozen"}
    request = request_of(parser().parse_args(shape(folder)))
    for name, read in told.items():
        peaks = [predicted_bytes(request, name, read["size"] + more, 16)["peak_bytes"] for more in (0, 1)]
        assert peaks[0] == read["peak_bytes"] <= 900 * KIB < peaks[1] == read["least_misfit_bytes"]
        assert read["limited_by"] == "budget" and read["instrument"] == "predicted"
        assert (read["find"], read["fixed"], read["budget_bytes"]) == ("batch", 16, 900 * KIB)
        assert read["steps_per_s"] is None and read["not_timed"] == NOT_ASKED


def test_the_length_found_ends_at_the_models_positions(search: Callable[..., Told]) -> None:
    plenty = search("--find", "length", "--batch-size", "2", "--budget", "1GiB")["lora"]
    assert (plenty["size"], plenty["limited_by"]) == (32, "positions")
    scarce = search("--find", "length", "--batch-size", "2", "--budget", "110KiB")["lora"]
    assert 4 <= scarce["size"] < 32 and scarce["limited_by"] == "budget"


def test_where_not_even_one_fits_the_row_says_what_one_needs(
    search: Callable[..., Told], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--max-length", "16", "--budget", "1KiB")
    told = search(*words)["full"]
    assert told["size"] is None and told["peak_bytes"] is None and told["least_misfit_bytes"] > KIB
    main([*shape(folder), "--out", str(tmp_path), "--quiet", *words])
    assert "none" in capsys.readouterr().out


def test_a_rerun_searches_nothing_and_another_budget_finds_the_old_probes(
    search: Callable[..., Told], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--max-length", "16", "--budget")
    first = search(*words, "900KiB")
    tried: list[int] = []

    def counted(request: Any, method: str, batch_size: int, length: int) -> dict[str, Any]:
        tried.append(batch_size)
        return predicted_bytes(request, method, batch_size, length)

    monkeypatch.setattr(bench.capacity.cells, "predicted_bytes", counted)
    assert search(*words, "900KiB") == first and not tried
    search(*words, "901KiB")
    assert tried.count(1) == 0, "the least and its double are known"
    assert len(list(tmp_path.glob("capacity/*.json"))) == 6


def test_a_dry_run_searches_nothing_and_says_how_long(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*shape(folder), "--max-length", "16", "--out", str(tmp_path / "none"), "--dry-run"]
    assert main([*words, "--budget", "900KiB"]) == 0
    *cells, time = capsys.readouterr().out.splitlines()
    assert cells == [f"{name}: to be searched" for name in ("full", "lora", "frozen")]
    assert re.fullmatch(r"time: about [^,]+", time) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("asked", "times"),
    [([], True), (["--no-time"], False), (["--budget", "1MiB"], False), (["--budget", "1MiB", "--time"], True)],
)
def test_steps_are_timed_unless_a_budget_is_given_or_it_is_said(
    asked: list[str], times: bool, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*shape(folder), "--max-length", "16", "--out", str(tmp_path), "--dry-run", *asked]) == 0
    assert capsys.readouterr().out.endswith(", and 7 steps of each method at the size it finds\n") is times


def test_steps_are_timed_where_asked(search: Callable[..., Told]) -> None:
    for read in search("--max-length", "16", "--budget", "600KiB", "--time", "--drift", "note").values():
        interval = read["steps_per_s_interval"]
        assert 0 < interval["low"] <= read["steps_per_s"] == interval["mean"] <= interval["high"]
        assert len(read["samples_ms"]) == interval["rounds"] == 6 and read["not_timed"] is None
        assert [sum(phases.values()) for phases in read["samples_by_phase_ms"]] == read["samples_ms"]
        assert read["machine"]["drift"] == "note" and len(read["machine"]["readings"]) == 7


def test_running_out_of_memory_is_an_answer_where_memory_is_measured(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, whose processes are played here: 37 examples fit; of one method every process fails otherwise."""

    def fresh(function: Any, _request: Any, method: str, *rest: Any) -> Outcome:
        if method == "lora":
            return Outcome(status=Status.ERROR, reason="a broken kernel")
        if function.__name__ == "timed":
            steps = {"samples_ms": [10.0] * 6, "samples_by_phase_ms": [], "reasons": [], "machine": {}}
            return Outcome(status=Status.OK, value=steps)
        if rest[1] > 37:
            return Outcome(status=Status.OOM, reason="CUDA out of memory")
        told = {"instrument": "cuda max_memory_allocated", "peak_bytes": 1000 + rest[1], "peak_phase": "backward"}
        return Outcome(status=Status.OK, value=told)

    monkeypatch.setattr(bench.capacity.cells, "run_fresh", fresh)
    monkeypatch.setattr(bench.capacity.__main__, "_predicts", lambda args, request: False)
    monkeypatch.setattr(bench.capacity.__main__, "_gpu_bytes", lambda request: 10**9)
    assert main([*shape(folder), "--max-length", "16", "--out", str(tmp_path), "--quiet", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["full"]["size"] == 37 and told["full"]["limited_by"] == "budget"
    assert told["full"]["least_misfit_bytes"] is None, "how much it would have needed nobody knows"
    assert told["full"]["instrument"] == "cuda max_memory_allocated"
    assert told["full"]["steps_per_s"] == pytest.approx(100)
    assert told["lora"]["status"] == "error" and told["lora"]["reason"] == "a broken kernel"
    assert told["frozen"]["size"] == 37


def test_steps_that_fail_at_the_largest_size_are_said_and_timed_again(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss that is NaN: the size found stands, the row has its status and reason, and the rerun tries again."""
    line = [*shape(folder), "--max-length", "16", "--budget", "600KiB", "--time", "--drift", "note"]
    line += ["--out", str(tmp_path), "--quiet"]
    with monkeypatch.context() as patched:
        failed = Outcome(status=Status.ERROR, reason="LossNotFinite: the loss is nan")
        patched.setattr(bench.capacity.cells, "run_fresh", lambda *_: failed)
        assert main(line) == 1
        printed = capsys.readouterr().out
        assert "full: error: its steps were not timed: LossNotFinite" in printed
        assert main([*line, "--json"]) == 1
        told = json.loads(capsys.readouterr().out)["full"]
        assert told["status"] == "error" and told["size"] > 0 and told["steps_per_s"] is None
    probes = len(list(tmp_path.glob("capacity_probe/*.json")))
    assert main([*line, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["full"]
    assert again["size"] == told["size"] and again["steps_per_s"] > 0
    assert len(list(tmp_path.glob("capacity_probe/*.json"))) == probes, "no size is tried twice"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch-size", "4"], "--batch-size is what --find batch looks for"),
        (["--find", "length", "--max-length=8"], "--max-length is what --find length looks for"),
        (["--task", "cola"], "--task cola has no use here"),
        (
            ["--budget", "1MiB", "--calibration-steps", "5"],
            "--calibration-steps 5 has no use where peaks are predicted",
        ),
        (["--padding", "longest"], "--lengths and --padding have no use here"),
        (["--budget", "much"], "--budget 'much' is no size"),
        (["--budget", "1MiB", "--drift", "note"], "--drift note is of timed steps, .*: give --time"),
        (["--max-length", "3"], "--max-length 3 is too small; give 4"),
        (["--max-length", "4000"], "--max-length 4000 is more than tiny holds"),
        (["--core", "8", "8"], "of a fixed support: add sparsegrad-compact"),
    ],
)
def test_a_wrong_word_is_told_in_a_line(words: list[str], message: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=message):
        main([*shape(folder), "--out", str(tmp_path / "none"), *words])
    assert not (tmp_path / "none").exists()
