"""One run: it learns, it computes what bench's train step computes, it goes on where it was killed."""

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from bench.train import LossNotFinite, train_step
from eval.finetune import calibrate_cell, finetune
from eval.ledger import Ledger
from eval.metrics import headline
from eval.settings import rhythm
from eval.splits import Collator, rows_of
from eval.trainer import SeededSampler, latest_checkpoint
from sparsegrad import Bases
from sparsegrad.methods import METHODS

TRAINING = [method.name for method in METHODS.values() if method.trains]


def bases_of(cell, folder: Path) -> Path | None:
    """A file of the bases that the cell's method wants, if it wants any."""
    if cell.calibration_config() is None:
        return None
    path = folder / "bases.safetensors"
    calibrate_cell(cell, path, 1)
    return path


def trained(cell, folder: Path):
    """The result of a run, and its work folder."""
    folder.mkdir(exist_ok=True)
    return finetune(cell, folder / "run", bases_of(cell, folder), 1)


def predictions(result):
    return {name: split["predictions"] for name, split in result["splits"].items()}


@pytest.mark.parametrize("task", ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli"])
def test_each_task_is_learnt_and_scored(cell, tmp_path, task):
    """Every label is told by a word: a model that trains gets far above chance."""
    made = cell(task=task, steps=60, lr=1e-2, trainable="all")
    result = trained(made, tmp_path)
    splits = ["validation_matched", "validation_mismatched"] if task == "mnli" else ["validation"]
    assert list(result["splits"]) == splits
    for split in result["splits"].values():
        assert len(split["idx"]) == len(split["labels"]) == len(split["predictions"]) == 21
        assert split["idx"] == sorted(split["idx"])
        recomputed = headline(task, np.array(split["labels"]), np.array(split["predictions"]))
        assert split["headline"] == pytest.approx(recomputed, abs=1e-12)
        assert split["headline"] > 0.6
    assert result["steps"] == 60 and result["losses"][-1][1] < result["losses"][0][1]


@pytest.mark.parametrize("method", TRAINING)
def test_the_trainer_does_what_the_bench_times(cell, tmp_path, method):
    """The same weights after four updates as bench's written-out step, the rate decayed by hand."""
    made = cell(method=method, steps=4, warmup_share=0.0, max_grad_norm=1e9, lr=1e-2)
    result = trained(made, tmp_path)
    state = torch.load(Path(latest_checkpoint(tmp_path / "run") or "") / "state.pt", weights_only=True)
    model, losses = by_hand(made, tmp_path / "bases.safetensors")
    assert [loss for _, loss in result["losses"]] == pytest.approx(losses, rel=1e-4)
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(state[name], weight, rtol=1e-4, atol=1e-5, msg=name)


def by_hand(made, bases):
    """The run as bench would do it: its train step on the batches that the seeded order gives."""
    source = made.subject.source()
    words, splits = made.subject.words(source), made.subject.splits()
    rows = rows_of((*splits.train, *splits.held_out), words, max_length=made.protocol.max_length)
    size, steps = made.protocol.batch_size, made.protocol.steps
    order = list(SeededSampler([len(row["input_ids"]) for row in rows], batch_size=size, seed=0, group=True))
    model = source.build()
    torch.manual_seed(made.subject.seed)
    wanted = Bases.load(bases) if made.calibration_config() else None
    prepared = METHODS[made.method].prepare(model, made.settings(), wanted)
    losses, collate = [], Collator.of(made.protocol, words)
    assert prepared.optimizer is not None
    for step in range(steps):
        for group in prepared.optimizer.param_groups:
            group["lr"] = made.lr * (1 - step / steps)
        batch = collate([rows[i] for i in order[step * size : (step + 1) * size]])
        losses.append(float(train_step(prepared, batch)))
    return prepared.model, losses


@pytest.mark.parametrize("method", ["full", "lora", "sparsegrad-planned"])
def test_accumulated_backwards_are_one_update(cell, tmp_path, method):
    """A batch in four parts gives what the whole batch gives: averaged, not summed."""
    words = {"method": method, "padding": "max", "steps": 5, "lr": 1e-2}
    whole = trained(cell(**words), tmp_path / "whole")
    parts = trained(cell(**words, accumulate=4), tmp_path / "parts")
    assert [x for _, x in parts["losses"]] == pytest.approx([x for _, x in whole["losses"]], rel=1e-3)
    assert predictions(parts) == predictions(whole)


def test_seed_decides_head_and_order_and_nothing_else_does(cell, tmp_path):
    first, again, other = (trained(cell(seed=s, task="stsb"), tmp_path / str(at)) for at, s in enumerate((0, 0, 1)))
    assert first["losses"] == again["losses"] and predictions(first) == predictions(again)
    assert first["losses"] != other["losses"]


@pytest.mark.parametrize("group", [False, True])
def test_the_largest_seeds_have_an_order_too(group):
    orders = [list(SeededSampler(range(9), batch_size=2, seed=seed, group=group)) for seed in (2**63 - 1, 2**63 - 2)]
    assert orders[0] != orders[1] and all(sorted(order) == list(range(9)) for order in orders)


def test_a_trial_trains_without_what_it_is_scored_on(cell, tmp_path):
    result = trained(cell(scored_on="held out"), tmp_path)
    assert list(result["splits"]) == ["held out"]
    assert result["train_examples"] == 54 and len(result["splits"]["held out"]["labels"]) == 6
    assert trained(cell(), tmp_path / "reported")["train_examples"] == 60


def test_early_stopping_keeps_the_best_checkpoint(cell, tmp_path):
    """Watched on the held-out slice; the reported scores are those of the best evaluation, not of the last."""
    made = cell(task="stsb", epochs=30, patience=2, lr=3e-2, trainable="all")
    result = trained(made, tmp_path)
    scores = dict(map(tuple, result["held_out_scores"]))
    assert result["steps"] < made.protocol.total_steps(54)
    assert scores[result["best_step"]] == max(scores.values())
    assert len([step for step in scores if step > result["best_step"]]) == 2
    best = cell(task="stsb", epochs=30, patience=2, lr=3e-2, trainable="all")
    shutil.rmtree(tmp_path / "run" / f"checkpoint-{result['steps']}")
    resumed = finetune(best, tmp_path / "run", None, 1)
    assert predictions(resumed) == predictions(result)


def test_a_loss_that_is_no_number_is_an_error(cell, tmp_path):
    with pytest.raises(LossNotFinite, match=r"the loss is .*--lr"):
        trained(cell(lr=1e20, steps=20), tmp_path)


def die_after(made, folder, bases, updates):
    """In a process of its own: the run, until SIGKILL ends it in the middle of things."""

    def on_step_end(_ledger, _args, state, _control, **_words):
        if state.global_step == updates:
            os.kill(os.getpid(), signal.SIGKILL)

    with patch.object(Ledger, "on_step_end", on_step_end):
        finetune(made, folder, bases, 1)


QUICK = ("lora", "sparsegrad-planned")


@pytest.mark.parametrize(
    "method", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in TRAINING]
)
def test_a_killed_run_goes_on_to_the_same_end(cell, tmp_path, method):
    """kill -9 in the middle of an epoch, with dropout on: predictions and losses are those of a run left alone."""
    # 60 examples, 8 an update: checkpoints every 4 updates; killed at 15, in the second epoch, after that of 12.
    made = cell(method=method, task="stsb", steps=20, dropout=0.1)
    alone = trained(made, tmp_path / "alone")
    (tmp_path / "killed").mkdir()
    bases = tmp_path / "alone" / "bases.safetensors" if made.calibration_config() else None
    process = multiprocessing.get_context("fork").Process(
        target=die_after, args=(made, tmp_path / "killed" / "run", bases, 15)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    checkpoint = latest_checkpoint(tmp_path / "killed" / "run")
    assert checkpoint is not None and checkpoint.endswith("checkpoint-12")
    resumed = finetune(made, tmp_path / "killed" / "run", bases, 1)
    assert resumed["steps"] == 20 and resumed["losses"] == alone["losses"]
    assert predictions(resumed) == predictions(alone)


def test_killed_before_it_would_stop_early_it_stops_where_it_would_have(cell, tmp_path):
    """How many evaluations brought nothing is part of a checkpoint, and so are the seconds spent."""
    made = cell(task="stsb", epochs=30, patience=3, lr=3e-2, trainable="all")
    alone = trained(made, tmp_path / "alone")
    process = multiprocessing.get_context("fork").Process(
        target=die_after, args=(made, tmp_path / "killed", None, alone["steps"] - 1)
    )
    process.start()
    process.join()
    spent = json.loads((Path(latest_checkpoint(tmp_path / "killed") or "") / "trainer_state.json").read_text())
    before = spent["stateful_callbacks"]["Ledger"]["attributes"]
    resumed = finetune(made, tmp_path / "killed", None, 1)
    assert resumed["steps"] == alone["steps"] < made.protocol.total_steps(54)
    assert resumed["held_out_scores"] == alone["held_out_scores"] and predictions(resumed) == predictions(alone)
    assert resumed["losses"] == alone["losses"]
    assert resumed["train_s"] > before["train_s"] >= 0 and resumed["peak"] == before["peak"]


@pytest.mark.parametrize("parts", [4, 5])
def test_where_a_checkpoint_is_made_a_mean_is_logged(parts):
    for total in range(1, 400):
        logged, every = rhythm(total, parts)
        assert every % logged == 0 and min(total, parts) <= total // every <= 2 * parts and logged <= max(1, total / 20)


def test_the_rate_rises_over_the_warm_up_and_falls_to_nothing(cell, tmp_path):
    trained(cell(steps=20, warmup_share=0.2, lr=1e-3), tmp_path)
    told = json.loads((Path(latest_checkpoint(tmp_path / "run") or "") / "trainer_state.json").read_text())
    rates = {entry["step"]: entry["learning_rate"] for entry in told["log_history"] if "learning_rate" in entry}
    # That of the update itself: the first of four that warm up does nothing, the last of twenty next to nothing.
    assert rates == pytest.approx({step: 1e-3 * min((step - 1) / 4, (21 - step) / 16) for step in range(1, 21)})


def test_a_checkpoint_cut_short_is_passed_over(cell, tmp_path):
    trained(cell(steps=10), tmp_path)
    folder = tmp_path / "run"
    last = Path(latest_checkpoint(folder) or "")
    assert last.name == "checkpoint-10"
    (last / "trainer_state.json").write_text('{"global_step": 1')
    before = Path(latest_checkpoint(folder) or "")
    assert before.name == "checkpoint-8" and not last.exists()
    shutil.rmtree(before)
    assert latest_checkpoint(folder) is None and latest_checkpoint(tmp_path / "none") is None


def test_the_ledger_counts_memory_and_seconds(cell, tmp_path):
    small, large = (trained(cell(max_length=n, padding="max"), tmp_path / str(n)) for n in (8, 32))
    assert small["peak"]["instrument"] == "tracked"
    assert 0 < small["peak"]["peak_bytes"] < large["peak"]["peak_bytes"]
    assert small["train_s"] > 0
    assert small["trainable_parameters"] == small["updated_parameters"] > 0
