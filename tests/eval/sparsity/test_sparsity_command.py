"""python -m eval.sparsity from end to end: levels, runs shared with eval.glue, resume, figure, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BadRequest
from bench.record import Status
from bench.store import Store
from eval import glue
from eval.campaign import Finished, see_through
from eval.sparsity.__main__ import main, parser

Words = Callable[..., list[str]]


@pytest.fixture
def words(tiny_encoder: Path, tiny_glue: Path, tmp_path: Path) -> Words:
    """A command line of short runs, with more words after it."""

    def make(*more: object) -> list[str]:
        shape = ["--model", tiny_encoder, "--random-weights", "--data-dir", tiny_glue, "--task", "sst2"]
        short = ["--steps", 4, "--batch-size", 8, "--max-length", 16, "--calibration-steps", 2, "--lr", 1e-3]
        rest = ["--seeds", 2, "--out", tmp_path / "out", "--quiet", *more]
        return [str(word) for word in (*shape, *short, *rest)]

    return make


def told(capsys: pytest.CaptureFixture[str], argv: list[str]) -> tuple[int, dict[str, Any], str]:
    code = main([*argv, "--json"])
    streams = capsys.readouterr()
    return code, json.loads(streams.out), streams.err


def records(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.json"))


def test_a_sweep_its_verdict_and_a_rerun_that_does_nothing(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = words("--kept-list", "50%", "26", "dense", "5%")
    code, result, _ = told(capsys, argv)
    assert code == 0
    assert [(row["kept"], row["entries"]) for row in result["rows"]] == [("26", 104), ("50%", 1024), ("dense", 2048)]
    assert [row["base_method"] for row in result["rows"]] == ["sparsegrad-planned"] * 2 + ["full"]
    assert [row["updated_parameters"] - 34 - 96 for row in result["rows"]] == [104, 1024, 2048]
    (verdict,) = result["verdicts"]
    assert verdict["method"] == "sparsegrad-planned" and verdict["sentence"] and not result["synthetic"]
    figures = [Path(path) for path in result["figures"]]
    assert [path.suffix for path in figures] == [".svg", ".png"] and figures[0].read_bytes().startswith(b"<?xml")
    (summary,), damaged = Store(tmp_path / "out").read_all("sparsity_quality")
    assert summary.result["verdicts"] == result["verdicts"] and not damaged
    before, drawn = records(tmp_path), [path.read_bytes() for path in figures]
    assert told(capsys, argv)[:2] == (0, result)
    assert records(tmp_path) == before and [path.read_bytes() for path in figures] == drawn
    assert main([word for word in argv if word != "--quiet"]) == 0
    streams = capsys.readouterr()
    assert "nothing left to do, all 6 runs have records" in streams.err
    assert verdict["sentence"] in " ".join(streams.out.split()) and "entries over all tuned linears" in streams.out


def test_its_runs_are_those_of_eval_glue(words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What either command has trained, the other finds; a lost record alone is made again."""
    assert main(words("--kept-list", "1%")) == 0
    made = sorted((tmp_path / "out" / "glue").glob("*.json"))
    assert len(made) == 4
    argv = words("--kept", "1%", "--methods", "full", "sparsegrad-planned")
    assert glue.main([*argv, "--json"]) == 0
    assert sorted((tmp_path / "out" / "glue").glob("*.json")) == made
    kept = {path: path.stat().st_mtime_ns for path in made[1:]}
    made[0].unlink()
    capsys.readouterr()
    assert told(capsys, words("--kept-list", "1%"))[0] == 0
    assert sorted((tmp_path / "out" / "glue").glob("*.json")) == made
    assert {path: path.stat().st_mtime_ns for path in made[1:]} == kept


def test_a_level_that_fails_is_a_row_and_the_others_go_on(
    words: Words, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its reason is told, exit 1, and the other level is compared."""

    def failing(*args: Any, **more: Any) -> list[Finished]:
        made = see_through(*args, **more)
        lost = [replace(record, status=Status.OOM, reason="OutOfMemoryError: planted") for record in made[1].runs]
        return [made[0], replace(made[1], runs=lost), *made[2:]]

    monkeypatch.setattr("eval.sparsity.__main__.see_through", failing)
    code, result, err = told(capsys, words("--kept-list", "5%", "50%"))
    assert code == 1 and "2 of 6 runs failed" in err and "python -m eval.sparsity" in err
    assert [row["status"] for row in result["rows"]] == ["ok", "oom", "ok"]
    assert (
        result["verdicts"][0]["missing"] == ["50%"]
        and "fewer than two seeds ran: 50%." in result["verdicts"][0]["sentence"]
    )


def test_the_help_tells_the_defaults_as_they_are_typed() -> None:
    told = " ".join(parser().format_help().split())
    assert "(default: sparsegrad-planned)" in told and "['" not in told


def test_the_default_is_synthetic_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dry-run", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("synthetic") == out.count("to be run") == 15 and "lr 0.003" in out and "about" in out
    short = ["--steps", "3", "--seeds", "1", "--kept-list", "1%", "--calibration-steps", "2", "--out", str(tmp_path)]
    assert main([*short, "--quiet"]) == 0
    assert "nothing here is a verdict on the paper" in capsys.readouterr().out
    assert told(capsys, short)[1]["synthetic"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--kept-list", "dense"], "only dense is there"),
        (["--kept-list", "1%", "lots"], "--kept-list 'lots': give a count"),
        (["--kept-list", "513"], "--kept-list 513"),
        (["--methods", "lora"], "--methods lora: it keeps no share"),
        (["--methods", "nope"], "unknown method 'nope'"),
        (["--task", "synthetic"], "is generated, not read"),
        (["--seeds", "0"], "--seeds 0"),
        (["--core", "8", "8"], "add sparsegrad-compact"),
        (["--core", "1", "1", "--methods", "sparsegrad-compact", "--kept-list", "5%"], "--kept-list 5% --core 1 1: "),
    ],
)
def test_a_wrong_request_is_one_line(words: Words, more: list[str], said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        main([*words(), *more])
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--steps", "0"], "--steps 0 is too small"),
        (["--epochs", "0"], "--epochs 0 is too small"),
        (["--tune", "0"], "--tune 0 is too small"),
    ],
)
def test_nothing_is_not_taken_for_the_synthetic_tasks_default(more: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=said):
        main(["--dry-run", "--out", str(tmp_path), *more])


def test_a_core_that_holds_the_levels_is_no_matter_of_other_sizes(
    words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four places: enough for three entries, though not for the 1% that dense would keep, which keeps all."""
    argv = words("--core", 2, 2, "--methods", "sparsegrad-compact", "--kept-list", 3, "--dry-run")
    assert main(argv) == 0
    assert capsys.readouterr().out.count("to be run") == 4
