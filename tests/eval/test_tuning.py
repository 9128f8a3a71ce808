"""Optuna's search: as many trials each, two processes on one study, a killed one's trial taken up, pruning."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import optuna
import psutil  # type: ignore[import-untyped]
import pytest
from optuna.trial import TrialState

from bench.errors import BadRequest
from bench.store import Store
from eval.glue import main
from eval.tuning import BATCHES, RATES
from eval.watch import open_storage

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def words(tiny_encoder, tiny_glue, tmp_path):
    """words(...): a command line of a short search for two methods, with more words after it."""

    def make(*more: object, trials=3, steps=8, out=tmp_path / "out"):
        shape = ["--model", tiny_encoder, "--random-weights", "--data-dir", tiny_glue, "--task", "stsb"]
        short = ["--steps", steps, "--max-length", 16, "--methods", "full", "lora", "--seeds", 1, "--out", out]
        return [str(word) for word in (*shape, *short, "--tune", trials, "--quiet", "--json", *more)]

    return make


def start(argv):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "eval.glue", *argv]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=-1, stderr=-1, text=True)


def studies(folder: Path):
    """Study name -> its trials."""
    storage = open_storage(str(folder / "tuning.journal"))
    return {name: optuna.load_study(study_name=name, storage=storage).trials for name in _names(storage)}


def _names(storage):
    return optuna.get_all_study_names(storage=storage)


def test_each_method_gets_as_many_trials_and_runs_with_its_best(words, tmp_path, capsys):
    assert main(words()) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["trials_each"] == 3 and len(result["trials"]) == 6
    for trial in result["trials"]:
        assert RATES[0] <= trial["lr"] <= RATES[1] and trial["batch_size"] in BATCHES and trial["status"] == "ok"
    for row in result["rows"]:
        tried = [t for t in result["trials"] if t["method"] == row["method"] and t["pruned_at"] is None]
        best = max(tried, key=lambda trial: trial["score"])
        assert (row["lr"], row["batch_size"]) == (best["lr"], best["batch_size"])
        assert row["steps"] == [8 * 32 // best["batch_size"]]  # as many examples, whatever the batch
    for trials in studies(tmp_path / "out").values():
        assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert main(words()) == 0
    assert json.loads(capsys.readouterr().out) == result
    assert all(len(trials) == 3 for trials in studies(tmp_path / "out").values())


@pytest.mark.slow
def test_two_processes_share_a_study_and_lose_none(words, tmp_path):
    """Eight trials a method; one process is killed at work, and its trial is taken up where it stood."""
    argv = words(trials=8, steps=20)
    doomed, survivor = start(argv), start(argv)
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "out").glob("glue_trial/*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    with doomed:
        doomed.kill()
    out, err = survivor.communicate(timeout=280)
    assert (survivor.returncode, err) == (0, "")
    result = json.loads(out)
    assert len(result["trials"]) == 16
    records, damaged = Store(tmp_path / "out").read_all("glue_trial")
    assert not damaged and len(records) == 16 and len({record.key for record in records}) == 16
    told = studies(tmp_path / "out")
    assert len(told) == 2
    for trials in told.values():
        ended = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        assert len(ended) == 8
        assert len({trial.params["lr"] for trial in ended}) == 8  # no two drew the same


@pytest.mark.slow
def test_a_trial_that_failed_is_made_good_by_the_same_command(words, tmp_path):
    """kill -9 of the process that trains, not of the command: a failed trial. Tried again it is whole, none more."""
    argv = words("--methods", "full", trials=1, steps=60)
    with start(argv) as process:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "out").glob("unfinished/*/checkpoint-*")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        for run in (run for server in psutil.Process(process.pid).children() for run in server.children()):
            run.kill()
        _, err = process.communicate(timeout=280)
    assert process.returncode == 1 and "1 of 2 runs failed" in err
    (trials,) = studies(tmp_path / "out").values()
    assert [trial.state for trial in trials] == [TrialState.FAIL]
    with start(argv) as process:
        out, err = process.communicate(timeout=280)
    assert (process.returncode, err) == (0, "")
    (trial,) = json.loads(out)["trials"]
    assert trial["status"] == "ok" and trial["score"] is not None
    (trials,) = studies(tmp_path / "out").values()
    assert len(trials) == 1 and len(list((tmp_path / "out").glob("glue_trial/*.json"))) == 2


def test_trials_that_diverge_leave_the_rate_unchosen_and_are_not_repeated(words, tmp_path, capsys, monkeypatch):
    """All of them: the runs then have a rate that no trial chose, which is told."""
    argv = [word for word in words("--methods", "full", trials=2) if word != "--json"]
    monkeypatch.setattr("eval.tuning.RATES", (1e19, 1e20))
    for _ in range(2):
        assert main(argv) == 0
        out = capsys.readouterr().out
        assert "None of its trials came to its end, so that its lr was not chosen: full on stsb." in out
        assert out.count(", to choose by: error: LossNotFinite") == 2
        records, _ = Store(tmp_path / "out").read_all()
        assert sorted(record.kind for record in records) == ["glue", "glue_comparison", "glue_trial", "glue_trial"]


@pytest.mark.slow
def test_a_trial_below_the_median_is_ended_early(words, tmp_path, capsys):
    """Enough trials that some are hopeless: they end before their last update, and none of them is chosen."""
    assert main(words(trials=8, steps=20)) == 0
    result = json.loads(capsys.readouterr().out)
    pruned = [trial for trial in result["trials"] if trial["pruned_at"] is not None]
    assert pruned
    assert all(trial["pruned_at"] < 20 * 32 // trial["batch_size"] for trial in pruned)
    chosen = {(row["method"], row["lr"]) for row in result["rows"]}
    assert not chosen & {(trial["method"], trial["lr"]) for trial in pruned}


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    "place", ["nosuchbase://host/db", "sqlite:////no/such/folder/db", ".", "/dev/null/journal", __file__]
)
def test_a_storage_that_cannot_be_opened_is_one_line(place, dry, words):
    """A dry run tells it too."""
    with pytest.raises(BadRequest, match="--storage: cannot be opened") as refused:
        main(words("--storage", place, *dry))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("place", ["studies.db", "later/tuning.journal"])
def test_a_dry_run_makes_no_storage(place, words, tmp_path):
    there = tmp_path / place
    assert main(words("--storage", f"sqlite:///{there}" if there.suffix == ".db" else str(there), "--dry-run")) == 0
    assert not there.exists() and not there.parent.joinpath("out").exists()


@pytest.mark.slow
def test_a_database_serves_as_well(words, tmp_path, capsys):
    place = f"sqlite:///{tmp_path / 'studies.db'}"
    assert main(words("--storage", place, trials=1)) == 0
    assert len(json.loads(capsys.readouterr().out)["trials"]) == 2
    assert len(_names(open_storage(place))) == 2
