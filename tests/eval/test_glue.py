"""python -m eval.glue from end to end, on a model small enough to wait for: what it prints, keeps and refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.errors import BadRequest
from bench.record import Status
from bench.store import Store
from eval.glue import main
from eval.study import TRIAL_SEED
from eval.words import default_methods
from sparsegrad.methods import METHODS
from tests.eval.casualties import losing

ROOT = Path(__file__).resolve().parents[2]
METHODS_HERE = ("full", "lora")


@pytest.fixture
def words(tiny_encoder, tiny_glue, tmp_path):
    """words(...): a command line of short runs, with more words after it."""

    def make(*more: object, task="sst2", methods=METHODS_HERE, seeds=2, steps=6, out=tmp_path / "out"):
        shape = ["--model", tiny_encoder, "--random-weights", "--data-dir", tiny_glue, "--task", task]
        short = [
            "--steps",
            steps,
            "--batch-size",
            8,
            "--max-length",
            16,
            "--calibration-steps",
            2,
            "--kept",
            0.05,
            "--lr",
            1e-3,
        ]
        rest = ["--methods", *methods, "--seeds", seeds, "--out", out, "--quiet", *more]
        return [str(word) for word in (*shape, *short, *rest)]

    return make


def told(capsys, argv):
    """Exit code, the JSON on stdout, stderr."""
    code = main([*argv, "--json"])
    streams = capsys.readouterr()
    return code, json.loads(streams.out), streams.err


def start(argv):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "eval.glue", *argv]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=-1, stderr=-1, text=True)


def test_a_table_with_paired_differences_and_a_rerun_that_does_nothing(words, tmp_path, capsys):
    methods = ("full", "lora", "sparsegrad-planned")
    argv = words(methods=methods)
    assert main(argv) == 0
    out = capsys.readouterr().out
    for name in (*methods, "difference to full", "lower bound", "~", "±"):
        assert name in out
    records, damaged = Store(tmp_path / "out").read_all("glue")
    assert len(records) == 6 and not damaged
    assert not list((tmp_path / "out" / "unfinished").glob("*"))
    assert {record.seed for record in records} == {0, 1}
    before = sorted((tmp_path / "out").rglob("*.json"))
    code, result, _ = told(capsys, argv)
    assert code == 0 and sorted((tmp_path / "out").rglob("*.json")) == before
    rows = {row["method"]: row for row in result["rows"]}
    assert rows["full"]["difference"] is None
    for record in records:
        scores = rows[record.config["method"]]["headline"]["by_seed"]
        assert record.result["splits"]["validation"]["headline"] in scores
    gap = [a - b for a, b in zip(*(rows[m]["headline"]["by_seed"] for m in ("lora", "full")), strict=True)]
    assert rows["lora"]["difference"]["by_seed"] == pytest.approx(gap)
    assert rows["sparsegrad-planned"]["calibration_s"] > 0 == rows["lora"]["calibration_s"]
    summary = Store(tmp_path / "out").read_all("glue_comparison")[0]
    assert [record.result["rows"] for record in summary] == [result["rows"]]
    assert summary[0].config["runs"] == sorted(record.key for record in records)
    main([argument for argument in argv if argument != "--quiet"])
    assert "nothing left to do, all 6 runs have records" in capsys.readouterr().err


def test_rates_are_chosen_on_held_out_examples_by_as_many_trials_each(words, tmp_path, capsys):
    code, result, _ = told(capsys, words("--lr", 1e-6, 1e-2, seeds=1, steps=20, task="stsb"))
    assert code == 0 and result["trials_each"] == 2
    records, _ = Store(tmp_path / "out").read_all("glue")
    trials = [record for record in records if record.config["scored_on"] == "held out"]
    assert len(trials) == 4 and len(records) == 6
    assert {record.seed for record in trials} == {TRIAL_SEED}
    for row in result["rows"]:
        scores = {t["lr"]: t["score"] for t in result["trials"] if t["method"] == row["method"]}
        assert len(scores) == 2 and scores[row["lr"]] == max(scores.values())
    reported = [record for record in records if record.config["scored_on"] == "reported"]
    assert {(r.config["method"], r.config["lr"]) for r in reported} == {(r["method"], r["lr"]) for r in result["rows"]}


def test_a_failing_method_is_a_row_and_the_others_go_on(words, tmp_path, capsys):
    """A rate so high that the loss is no number: recorded with its reason, exit 1, and what to give. Its key holds all
    that it depends on: the same command trains nothing again."""
    argv = words("--lr", 1e20, methods=("full", "lora"), seeds=1, steps=20)
    code, result, err = told(capsys, argv)
    assert code == 1 and "2 of 2 runs failed: they diverged" in err and "give lower rates (--lr), or --fresh" in err
    assert "run again by" not in err and not list((tmp_path / "out" / "unfinished").glob("*"))
    assert [row["status"] for row in result["rows"]] == ["error", "error"]
    assert all("--lr" in row["failures"][0]["reason"] for row in result["rows"])
    before = sorted((tmp_path / "out").rglob("*.json"))
    assert main(argv) == 1
    assert "error: LossNotFinite" in capsys.readouterr().out
    assert sorted((tmp_path / "out").rglob("*.json")) == before and len(before) == 3
    assert main([*argv, "--dry-run"]) == 0
    assert capsys.readouterr().out.count(": diverged, ") == 2
    assert main([*argv, "--fresh"]) == 1
    records, _ = Store(tmp_path / "out").read_all("glue")
    assert len(records) == 4 and {record.status for record in records} == {Status.ERROR}


def test_a_trial_that_diverges_has_told_its_rate_and_is_no_failure(words, tmp_path, capsys):
    argv = words("--lr", 1e-2, 1e20, methods=("full",), seeds=1, steps=20)
    assert main(argv) == 0
    streams = capsys.readouterr()
    assert "lr 1e+20, to choose by: error: LossNotFinite" in streams.out and streams.err == ""
    records, _ = Store(tmp_path / "out").read_all()
    assert sorted(str(record.status) for record in records) == ["error", "ok", "ok", "ok"]
    assert main([word for word in argv if word != "--quiet"]) == 0
    assert "nothing left to do, all 3 runs have records" in capsys.readouterr().err
    assert len(Store(tmp_path / "out").read_all()[0]) == 4


def test_a_run_that_was_lost_runs_again_by_the_line_that_is_printed(words, tmp_path, capsys, monkeypatch):
    """Its process is killed: unlike a loss that is no number that may end otherwise. The line trains nothing else."""
    argv = words(methods=("full", "lora"), seeds=1)
    with monkeypatch.context() as patched:
        patched.setattr("eval.launched.run_fresh", losing(lambda cell: cell.method == "lora"))
        assert main([*argv, "--fresh"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "1 of 2 runs failed; just these run again by: python -m eval.glue" in line and "--fresh" not in line
    assert main(line.split("python -m eval.glue ")[1].split()) == 0
    records, _ = Store(tmp_path / "out").read_all("glue")
    assert sorted((record.config["method"], str(record.status)) for record in records) == [
        ("full", "ok"), ("lora", "ok"), ("lora", "oom")
    ]  # fmt: skip


@pytest.mark.slow
def test_killed_it_goes_on_and_ends_as_if_it_had_not_been(words, tmp_path, capsys):
    """kill -9 of command and runs at whatever they are at, twice; the figures are those of a run left alone."""
    argv = words(steps=60, seeds=2, task="stsb")
    for wanted in (1, 3):
        with start(argv) as process:
            deadline = time.monotonic() + 120
            while _records(tmp_path / "out") < wanted and time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.05)
            process.kill()
    assert wanted <= _records(tmp_path / "out") <= 4
    code, resumed, _ = told(capsys, argv)
    alone_code, alone, _ = told(capsys, words(steps=60, seeds=2, task="stsb", out=tmp_path / "alone"))
    assert code == alone_code == 0 and _records(tmp_path / "out") == 4
    for row, other in zip(resumed["rows"], alone["rows"], strict=True):
        for name in ("headline", "difference", "verdict", "steps", "records"):
            assert row[name] == other[name]


def _records(folder: Path) -> int:
    return len(list((folder / "glue").glob("*.json")))


@pytest.mark.slow
def test_two_commands_at_once_train_no_run_twice(words, tmp_path, capsys):
    """With two workers each: a run that one is at is waited for by the other."""
    argv = words("--workers", 2, "--json", seeds=2)
    both = [start(argv) for _ in range(2)]
    printed = [process.communicate(timeout=240) for process in both]
    assert [(process.returncode, err) for process, (_, err) in zip(both, printed, strict=True)] == [(0, "")] * 2
    assert _records(tmp_path / "out") == 4
    first, second = (json.loads(out)["rows"] for out, _ in printed)
    assert first == second


@pytest.mark.slow
def test_interrupted_it_ends_its_runs_and_says_how_to_go_on(words, tmp_path):
    process = start(words(steps=100_000, seeds=1))
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out" / "unfinished").glob("*/checkpoint-*")) and time.monotonic() < deadline:
        if list((tmp_path / "out" / "unfinished").glob("*")):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "goes on where it stopped" in err and "Traceback" not in err
    records, _ = Store(tmp_path / "out").read_all("glue")
    assert all(record.status is Status.INTERRUPTED for record in records)


def test_damaged_bases_are_made_again(words, tmp_path, capsys):
    """Cut short beside the good record of their calibration they are no use to the next run."""
    methods = ("sparsegrad-planned",)
    assert main(words(methods=methods, seeds=1)) == 0
    (bases,) = (tmp_path / "out" / "bases").iterdir()
    whole = bases.read_bytes()
    bases.write_bytes(whole[:-64])
    assert main(words("--lr", 2e-3, methods=methods, seeds=1)) == 0
    assert bases.read_bytes() == whole and len(Store(tmp_path / "out").read_all("glue_calibration")[0]) == 2


def test_a_dry_run_trains_nothing(words, tmp_path, capsys):
    assert main([*words("--lr", 1e-4, 1e-3), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.count("to be run") == 4 and out.count("to be chosen") == 2
    assert _records(tmp_path / "out") == 0


def test_every_mathematics_is_compared_once_by_default():
    chosen = default_methods()
    assert {"full", "lora", "meprop"} <= set(chosen)
    assert all(METHODS[name].trains for name in chosen)
    mathematics = [METHODS[name].same_as or name for name in chosen]
    assert len(set(mathematics)) == len(mathematics)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--task", "squad"], "unknown task 'squad'"),
        (["--methods", "frozen"], "trains nothing"),
        (["--methods", "nope"], "unknown method 'nope'"),
        (["--reference", "meprop"], "--reference meprop is not compared"),
        (["--lr", "0"], "--lr 0.0"),
        (["--lr", "nan"], "--lr nan"),
        (["--seeds", "0"], "--seeds 0"),
        (["--seed", "1000000"], "--seed 1000000"),
        (["--lora-rank", "3", "--budget", "params"], "leave out --lora-rank 3"),
        (["--lora-rank", "3", "--methods", "full"], "--lora-rank 3 is of LoRA and its kin: add lora"),
        (["--margin", "-1"], "--margin -1"),
        (["--margin", "inf"], "--margin inf"),
        (["--seeds", "2000000"], "--seeds 2000000"),
        (["--max-length", "2"], "--max-length 2 holds no pair"),
        (["--core", "8", "8"], "add sparsegrad-compact"),
        (["--fixed-basis", "shared"], "add sparsegrad-compact"),
        (["--core", "64", "8", "--budget", "bytes"], "--kept 0.05 --core 64 8"),
        (["--budget", "time", "--tune", "2"], "--lr"),
        (["--tune", "2", "--lr", "1e-3"], "leave out --lr"),
        (["--storage", "x"], "add --tune N"),
        (["--tune", "2", "--storage", "mysql://me:secret@host/db"], "leave the password out"),
        (["--workers", "0"], "--workers 0"),
        (["--epochs", "3"], "not both"),
        (["--protocol", "paper", "--steps", "3"], "--batch-size N"),
        (["--max-length", "64"], "more than tiny holds"),
        (["--model", "llama-2-7b"], "is a decoder"),
        (["--data-dir", "/nowhere"], "is no folder"),
        (["--kept", "0"], "kept"),
        (["--surprise"], "--help"),
    ],
)
def test_a_wrong_request_is_one_line(words, more, told):
    argv = words()
    if "paper" in more:
        at = argv.index("--batch-size")
        del argv[at : at + 2]
    with pytest.raises((BadRequest, ValueError)) as refused:
        main([*argv, *more])
    assert told in str(refused.value) and "\n" not in str(refused.value)


def test_weights_that_lack_a_tensor_are_told_before_anything_is_run(tiny_encoder, words, tmp_path):
    from safetensors.torch import load_file, save_file
    from transformers import AutoConfig, AutoModelForSequenceClassification

    folder = tmp_path / "cut"
    AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(tiny_encoder)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the"]))
    kept = {name: weight for name, weight in load_file(folder / "model.safetensors").items() if "layer.1" not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    argv = [word for word in words("--model", folder) if word != "--random-weights"]
    with pytest.raises(BadRequest, match="lack 16 tensors of this model"):
        main(argv)
    assert not (tmp_path / "out" / "glue").exists()


@pytest.mark.slow
def test_a_pretrained_model_on_real_text(minilm_folder, shared_data, tmp_path, capsys):
    """MiniLM on slices of the four tasks that are here: its own tokenizer, each metric, a difference for each task."""
    tasks = ("sst2", "cola", "stsb", "rte")
    words = ["--model", minilm_folder, "--data-dir", shared_data / "glue", "--task", *tasks, "--limit", 40]
    more = ["--steps", 2, "--batch-size", 4, "--max-length", 32, "--seeds", 2, "--methods", "full", "lora"]
    code, result, _ = told(capsys, [str(word) for word in (*words, *more, "--out", tmp_path, "--quiet")])
    assert code == 0
    assert [(row["task"], row["method"]) for row in result["rows"]] == [(t, m) for t in tasks for m in METHODS_HERE]
    compared = [row["difference"] for row in result["rows"] if row["method"] == "lora"]
    assert all(d["p"] <= d["p_holm"] <= 1 for d in compared) and len(compared) == 4
    assert set(result["rows"][4]["metrics"]) == {"pearson", "spearman"}
