"""python -m eval.grid from end to end: the runs of eval.glue with their keys; one that fails does not stop the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from bench.errors import BadRequest
from bench.record import Status
from bench.store import Store
from eval.glue import main as glue
from eval.grid.__main__ import main
from tests.eval.casualties import losing
from tests.eval.launching import launched

Words = Callable[..., list[str]]
METHODS = ("full", "sparsegrad-planned")


def told(capsys: pytest.CaptureFixture[str], argv: list[str]) -> tuple[int, Any, str]:
    """Exit code, the JSON on stdout, stderr."""
    code = main([*argv, "--json"])
    streams = capsys.readouterr()
    return code, json.loads(streams.out), streams.err


def test_a_grid_is_the_runs_of_glue_and_a_rerun_does_nothing(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = words("--kept", 0.05, 0.1, methods=METHODS)
    code, result, _ = told(capsys, argv)
    assert code == 0 and len(result["cells"]) == 8
    records, damaged = Store(tmp_path / "out").read_all("glue")
    assert not damaged and {record.key for record in records} == {cell["key"] for cell in result["cells"]}
    assert len({cell["name"] for cell in result["cells"]}) == 8
    assert all(cell["status"] == "ok" and cell["score"] is not None for cell in result["cells"])
    before = sorted((tmp_path / "out" / "glue").iterdir())
    code, again, _ = told(capsys, argv)
    assert code == 0 and again == result
    for line in result["compared_by"]:
        assert glue(line.split()[3:]) == 0
        assert "nothing left to do, all 4 runs have records" in capsys.readouterr().err
    assert sorted((tmp_path / "out" / "glue").iterdir()) == before


def test_a_failing_cell_is_a_record_the_others_go_on_and_only_it_runs_again(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process is killed: exit 1, and the line that runs just that cell again."""
    argv = words("--seeds", 1, methods=("full", "lora"))
    with monkeypatch.context() as patched:
        patched.setattr("eval.launched.run_fresh", losing(lambda cell: cell.method == "lora"))
        code, result, err = told(capsys, argv)
    assert code == 1 and [cell["status"] for cell in result["cells"]] == ["ok", "oom"]
    key = result["cells"][1]["key"]
    assert "1 of 2 cells failed; just these run again by: python -m eval.grid" in err and f"--only {key}" in err
    code, one, err = told(capsys, err.split("python -m eval.grid ")[1].split())
    assert code == 0 and [cell["key"] for cell in one["cells"]] == [key] and not err
    assert len(Store(tmp_path / "out").read_all("glue")[0]) == 3


def test_cells_that_diverge_are_not_trained_to_the_same_end_again(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rate so high that the loss is no number: exit 1, and what to give instead."""
    argv = words("--lr", 1e20, "--seeds", 1, methods=("full", "lora"), steps=20)
    code, result, err = told(capsys, argv)
    assert code == 1 and [cell["status"] for cell in result["cells"]] == ["error", "error"]
    assert all("--lr" in cell["reason"] and cell["score"] is None for cell in result["cells"])
    assert "2 of 2 cells failed: they diverged" in err and "give lower rates (--lr)" in err and "--only" not in err
    assert told(capsys, [*argv, "--only", result["cells"][1]["key"][:8]])[0] == 1
    records, _ = Store(tmp_path / "out").read_all("glue")
    assert len(records) == 2 and {record.status for record in records} == {Status.ERROR}


def test_trials_choose_rates_as_in_glue(words: Words, capsys: pytest.CaptureFixture[str]) -> None:
    code, result, _ = told(capsys, words("--lr", 1e-6, 1e-2, "--seeds", 1))
    assert code == 0
    names = [cell["name"] for cell in result["cells"]]
    assert [name.endswith("to choose by") for name in names] == [True, True, False]
    assert main(words("--lr", 1e-6, 1e-2, "--seeds", 1, "--dry-run")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == [cell["key"] for cell in result["cells"][:2]]
    assert all(": done" in line for line in lines[:2])


def test_of_a_trial_that_diverged_nothing_is_left_to_do(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two rates one is too high; and of the runs at the other, one is lost. Dry, the keys list the same cells."""
    argv = words("--lr", 1e-2, 1e20, steps=20)
    assert main(argv) == 0
    done = {record.key: record for record in Store(tmp_path / "out").read_all("glue")[0]}
    lost = next(key for key, record in done.items() if record.config["scored_on"] == "reported" and record.seed == 1)
    (trial,) = [key for key, record in done.items() if record.status is Status.ERROR]
    (tmp_path / "out" / "glue" / f"{lost}-1.json").unlink()
    capsys.readouterr()
    only = [*argv, "--only", trial, lost]
    code, rows, _ = told(capsys, [*only, "--dry-run"])
    states = {row["key"]: row["state"].split(",")[0] for row in rows}
    assert code == 0 and states == {trial: "diverged", lost: "to be run"}
    code, result, err = told(capsys, only)
    assert code == 0 and {cell["key"]: cell["status"] for cell in result["cells"]} == {trial: "error", lost: "ok"}
    assert err == "" and len(Store(tmp_path / "out").read_all("glue")[0]) == len(done)


def test_no_key_stands_for_a_cell_of_a_search(words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are not known beforehand; what of it failed runs again by the same command."""
    argv = [word for word in words("--seeds", 1, steps=4) if word not in ("--lr", "0.01", "--batch-size", "8")]
    code, result, err = told(capsys, [*argv, "--tune", "1", "--kept", "0.05"])
    assert code == 0 and len(result["cells"]) == 2 and not err
    with pytest.raises(BadRequest, match="--only: which cells a search has"):
        main([*argv, "--tune", "1", "--only", result["cells"][0]["key"]])


def test_a_dry_run_lists_every_cell_with_its_key_and_writes_nothing(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words("--dry-run", "--json", "--kept", 0.05, 0.1, methods=METHODS)) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in rows[:-1]] == ["to be run"] * 8 and "about" in rows[-1]["state"]
    assert len({row["key"] for row in rows[:-1]}) == 8
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_grids_at_once_run_each_cell_once(
    words: Words, start: Callable[[list[str]], Popen[str]], tmp_path: Path
) -> None:
    both = [start(words("--json", methods=METHODS, steps=20)) for _ in range(2)]
    said = [process.communicate(timeout=280) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert json.loads(said[0][0]) == json.loads(said[1][0])
    records, damaged = Store(tmp_path / "out").read_all("glue")
    assert not damaged and len(records) == 4 == len({record.key for record in records})


@pytest.mark.slow
def test_under_a_launcher_its_processes_share_each_cell(words: Words, tmp_path: Path) -> None:
    done = launched("torchrun", "eval.grid", words("--json", "--seeds", 1))
    assert done.returncode == 0, done.stderr
    (cell,) = json.loads(done.stdout)["cells"]
    (record,) = Store(tmp_path / "out").read_all("glue")[0]
    assert record.key == cell["key"] and record.result["processes"] == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--cpus", 2], "--cpus is for Ray's tasks"),
        (["--gpus", 0.5], "--gpus is for Ray's tasks"),
        (["--memory-gib", 1], "--memory-gib is for Ray's tasks"),
        (["--retries", 1], "--retries is for Ray's tasks"),
        (["--only", "zz"], "--only zz: no cell of this grid"),
        (["--only", "zz", "--dry-run"], "--only zz: no cell of this grid"),
        (["--ray", "local", "--device", "cuda:1"], "Ray chooses which GPU"),
        (["--ray", "local", "--cpus", 0], "--cpus 0 is too small"),
        (["--ray", "local", "--gpus", "nan"], "--gpus nan is no amount"),
        (["--ray", "local", "--memory-gib", "inf"], "--memory-gib inf is no amount"),
        (["--ray", "local", "--retries", -1], "--retries -1 is too small"),
        (["--workers", -1], "--workers -1"),
        (["--workers", 0], "--workers 0"),
        (["--methods", "best"], "unknown method 'best'"),
        (["--kept", "none"], "none"),
    ],
)
def test_what_does_not_fit_is_one_line(words: Words, more: list[object], said: str) -> None:
    with pytest.raises(BadRequest, match=said) as refused:
        main(words(*more))
    assert "\n" not in str(refused.value)
