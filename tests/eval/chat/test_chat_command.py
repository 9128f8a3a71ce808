"""python -m eval.chat from end to end: what it prints, keeps, refuses, and does not do a second time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from bench.errors import BadRequest
from bench.record import Record, Status
from bench.store import Store
from eval.chat import __main__ as command
from eval.chat.__main__ import main
from eval.chat.words import parser, study_of
from eval.desk import Desk
from sparsegrad.methods import METHODS

ROOT = Path(__file__).resolve().parents[3]
Words = Callable[..., list[str]]


@pytest.fixture
def words(llama_folder: Path, roleplay: Path, tmp_path: Path) -> Words:
    """words(...): a command line of short runs, with more words after it."""

    def make(*more: object, methods: tuple[str, ...] = ("full", "lora", "frozen"), seeds: int = 2) -> list[str]:
        shape = ["--model", llama_folder, "--data", roleplay, "--limit", 20, "--max-length", 96, "--every", 2]
        short = ["--steps", 5, "--batch-size", 4, "--calibration-steps", 2, "--kept", 0.05]
        short += ["--lora-rank", 2] if "lora" in methods else []
        rest = ["--methods", *methods, "--seeds", seeds, "--out", tmp_path / "out", "--lr", "1e-2", "--quiet", *more]
        return [str(word) for word in (*shape, *short, *rest)]

    return make


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code's fingerprint as it was at the start: others may write in the tree while a test runs."""
    monkeypatch.setattr(Desk, "_code", "0" * 16)


def told(capsys: pytest.CaptureFixture[str], argv: list[str]) -> tuple[int, dict[str, Any], str]:
    code = main([*argv, "--json"])
    streams = capsys.readouterr()
    return code, json.loads(streams.out), streams.err


@pytest.mark.slow
@pytest.mark.usefixtures("still")
def test_a_table_models_that_mtbench_loads_and_a_rerun_that_does_nothing(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = words("--save", "adapter", methods=("full", "lora", "sparsegrad-compact", "frozen"))
    assert main(argv) == 0
    out = capsys.readouterr().out
    for name in ("full", "lora", "sparsegrad-compact", "frozen", "difference to full", "valid loss", "--adapter"):
        assert name in out
    records, damaged = Store(tmp_path / "out").read_all("chat")
    assert len(records) == 8 and not damaged and {record.seed for record in records} == {0, 1}
    assert not list((tmp_path / "out" / "unfinished").glob("*"))
    saved = {record.result["saved"]["folder"] for record in records if record.result["saved"]}
    assert saved == {path.name for path in (tmp_path / "out" / "models").iterdir()} and len(saved) == 6
    before = sorted((tmp_path / "out").rglob("*.json"))
    code, result, _ = told(capsys, argv)
    assert code == 0 and sorted((tmp_path / "out").rglob("*.json")) == before
    rows = {row["method"]: row for row in result["rows"]}
    assert rows["full"]["difference"] is None and rows["frozen"]["trainable_parameters"] == 0
    assert rows["frozen"]["loss"]["mean"] > rows["full"]["loss"]["mean"]
    assert rows["full"]["peak_instrument"] == "tracked" and rows["frozen"]["peak_bytes"] is None
    for row in rows.values():
        assert row["loss"]["low"] < row["loss"]["mean"] < row["loss"]["high"]
    for name in ("lora", "sparsegrad-compact"):
        difference = rows[name]["difference"]
        assert difference["mean"] == pytest.approx(rows[name]["loss"]["mean"] - rows["full"]["loss"]["mean"])
        assert difference["low"] < difference["mean"] < difference["high"] and difference["p_holm"] is not None


@pytest.mark.usefixtures("still")
def test_a_run_that_goes_astray_is_a_record_and_the_others_go_on(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = words("--lr", "1e30", methods=("full", "frozen"), seeds=1)
    code, result, errors = told(capsys, argv)
    rows = {row["method"]: row for row in result["rows"]}
    assert code == 1 and "1 of 2 runs failed: they diverged" in errors and "give a lower --lr than 1e+30" in errors
    assert rows["full"]["status"] == "error" and "lower --lr" in rows["full"]["failures"][0]["reason"]
    assert rows["full"]["loss"]["mean"] is None and rows["frozen"]["loss"]["mean"] is not None
    records, _ = Store(tmp_path / "out").read_all("chat")
    assert sorted(record.status for record in records) == [Status.ERROR, Status.OK]
    assert told(capsys, argv)[0] == 1 and len(Store(tmp_path / "out").read_all("chat")[0]) == 2


@pytest.mark.usefixtures("still")
def test_one_seed_gives_no_verdict(words: Words, capsys: pytest.CaptureFixture[str]) -> None:
    argv = words(methods=("full", "lora"), seeds=1)
    _, result, _ = told(capsys, argv)
    lora = result["rows"][1]
    assert lora["verdict"] is None and lora["difference"]["low"] is None
    assert lora["difference"]["over_conversations"]["low"] < lora["difference"]["over_conversations"]["high"]
    main(argv)
    assert "one seed tells nothing of other seeds" in capsys.readouterr().out


def test_a_dry_run_writes_nothing(words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words("--dry-run")) == 0
    *runs, each, time = capsys.readouterr().out.splitlines()
    assert len(runs) == 6 and all(line.endswith(": to be run") for line in runs)
    assert each == "each: 5 updates of 4 conversations out of 20, 20 held out" and time.startswith("time: about ")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("still")
def test_every_method_is_reported_two_runs_at_a_time(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what two at a time have done, one at a time finds done."""
    argv = words(methods=tuple(METHODS), seeds=1)
    assert main([*argv, "--workers", "2"]) == 0
    told = capsys.readouterr().out
    rows = [line.split() for line in told.splitlines() if line.startswith("│")]
    assert [row[0].strip("│") for row in rows] == list(METHODS)
    records, _ = Store(tmp_path / "out").read_all("chat")
    assert {record.config["method"] for record in records} == set(METHODS) and len(records) == len(METHODS)
    losses = {record.config["method"]: record.result["valid_loss"] for record in records}
    assert all(losses[name] < losses["frozen"] for name, method in METHODS.items() if method.trains)
    assert losses["frozen-drop"] == pytest.approx(losses["frozen"])
    assert main([*argv, "--dry-run"]) == 0
    *runs, _, time = capsys.readouterr().out.splitlines()
    assert all(": done" in line for line in runs) and time == "time: about 0 s"


@pytest.mark.slow
def test_killed_it_goes_on_where_it_stopped(words: Words, tmp_path: Path) -> None:
    """kill -9 in the middle of a run; the same command then ends, with the checkpoint taken up."""
    argv = words("--steps", 150, methods=("full",), seeds=1)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen([sys.executable, "-m", "eval.chat", *argv], cwd=ROOT, env=environment, stderr=-1)
    unfinished = tmp_path / "out" / "unfinished"
    for _ in range(4000):
        if list(unfinished.glob("*/checkpoint-*/trainer_state.json")) or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    (begun,) = unfinished.iterdir()
    assert list(begun.glob("checkpoint-*/trainer_state.json"))
    assert not Store(tmp_path / "out").read_all("chat")[0]
    done = subprocess.run([sys.executable, "-m", "eval.chat", *argv], cwd=ROOT, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    (record,) = Store(tmp_path / "out").read_all("chat")[0]
    assert record.key == begun.name and record.result["steps"] == 150 and not begun.exists()


@pytest.mark.slow
def test_two_commands_at_once_train_and_save_each_run_once(words: Words, tmp_path: Path) -> None:
    argv = words("--save", "adapter", "--json", methods=("full", "lora", "sparsegrad-compact"), seeds=1)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "eval.chat", *argv]
    both = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=-1, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=280) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert said[0][0] == said[1][0]
    records, damaged = Store(tmp_path / "out").read_all("chat")
    assert not damaged and len(records) == 3 and len(Store(tmp_path / "out").read_all("chat_calibration")[0]) == 1
    saved = {record.result["saved"]["folder"] for record in records}
    assert saved == {path.name for path in (tmp_path / "out" / "models").iterdir()} and len(saved) == 3


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--methods", "magic"), "unknown method 'magic'"),
        (("--reference", "shira"), "--reference shira is not compared"),
        (("--steps", "3", "--epochs", "1"), "exclude each other"),
        (("--lr", "0"), "--lr 0"),
        (("--kept", "10_000_000"), "--kept 10000000"),
        (("--kept", "nan"), "--kept nan"),
        (("--max-length", "4096"), "--max-length 4096 is more than llama holds; give 128"),
        (("--max-length", "3"), "--max-length 3 cuts the conversations"),
        (("--limit", "1"), "--limit 1 is too small; give 2 or more"),
        (("--targets", "nothing"), "--targets: no linear matches"),
        (("--targets", "("), "--targets: .*not a regular expression"),
        (("--core", "32", "32"), "--core and --fixed-basis are of a fixed support"),
        (("--fixed-basis", "shared"), "--core and --fixed-basis are of a fixed support"),
        (("--methods", "full", "frozen"), "--lora-rank 2 is of LoRA and its kin: add lora to --methods"),
        (("--workers", "0"), "--workers 0 is too small"),
        (("--lang", "en"), "--lang en"),
        (("--template", "nobody"), "--conv-template 'nobody' is not known"),
        (("--accumulate", "3"), "--accumulate 3 does not divide"),
        (("--every", "0"), "--every 0 is too small"),
        (("--data", "nothing.jsonl"), "no such file"),
        (("--model", "small-llama"), "knows the generated words alone"),
    ],
)
def test_what_is_refused(words: Words, more: tuple[str, ...], why: str) -> None:
    with pytest.raises(BadRequest, match=why) as refused:
        main([*words(), *more])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("keep", "why"),
    [(None, "has no weights"), ("model.layers.0", "lack [0-9]+ tensors of this model")],
)
def test_weights_that_are_not_the_models_are_told_before_anything_is_run(
    words: Words, llama_folder: Path, tmp_path: Path, keep: str | None, why: str
) -> None:
    """A folder with a configuration and a tokenizer, and no weights or only some."""
    folder = tmp_path / "cut"
    shutil.copytree(llama_folder, folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if keep is not None:
        some = {name: weight for name, weight in weights.items() if name.startswith(keep)}
        save_file(some, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadRequest, match=why) as refused:
        main(words("--model", folder))
    assert "\n" not in str(refused.value) and not (tmp_path / "out" / "chat").exists()


def test_an_encoder_is_refused(words: Words, minilm_folder: Path) -> None:
    with pytest.raises(BadRequest, match="is an encoder"):
        main([*words(), "--model", str(minilm_folder)])


def test_the_papers_preset(tmp_path: Path) -> None:
    """Eleven blocks of LLaMA-2-7B, two linears each; the shape alone, so that nothing is fetched."""
    argv = ["--preset", "paper", "--random-weights", "--out", str(tmp_path), "--device", "cpu"]
    study = study_of(parser().parse_args(argv))
    cells = [cell for method in ("full", "lora", "sparsegrad-planned") for cell in study.runs(method)]
    for cell in cells:
        assert (cell.kept, cell.lr, cell.lora_rank, cell.every, cell.dtype) == (100_000, 9e-4, 32, 3, "bf16")
        assert cell.protocol.epochs == 1 and cell.protocol.steps is None and cell.subject.data == "oasst1"
    from sparsegrad.roles import find_targets

    found = find_targets(study.source.outline(), targets=cells[0].targets, every=cells[0].every)
    assert {target.name.split(".")[2] for target in found} == {str(block) for block in range(0, 32, 3)}
    assert {target.name.rsplit(".", 1)[1] for target in found} == {"up_proj", "down_proj"} and len(found) == 22


def test_the_default_needs_no_data_and_no_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--methods", "full", "frozen", "--seeds", "1", "--steps", "40", "--out", str(tmp_path), "--quiet"]
    _, result, _ = told(capsys, argv)
    losses = {row["method"]: row["loss"]["mean"] for row in result["rows"]}
    assert losses["full"] < losses["frozen"] - 0.5
    assert {row["method"] for row in result["rows"]} <= set(METHODS)


def test_a_model_that_was_taken_away_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Kept:
        result = {"saved": {"folder": "gone"}}  # noqa: RUF012

    record: Record = Kept()  # type: ignore[assignment]
    command._check_saved(tmp_path, record)
    assert "gone was taken away; --fresh" in capsys.readouterr().err
