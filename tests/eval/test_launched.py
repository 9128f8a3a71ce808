"""Under torchrun and accelerate launch: the batches, weights and figures of a single process, and one record of it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.errors import BadRequest
from bench.fresh import run_fresh
from bench.record import Record, Status
from bench.store import Store
from eval import ranks
from eval.glue import main
from eval.launched import leading
from eval.ranks import Shares, each
from eval.trainer import SeededSampler
from tests.eval.launching import launched

METHODS = {"torchrun": ["full", "sparsegrad-planned"], "accelerate": ["sparsegrad-compact"]}
Command = Callable[..., list[str]]


@pytest.fixture
def words(tiny_encoder: Path, tiny_glue: Path) -> Command:
    """words(out, ...): short runs; 60 examples in batches of 8, so that the last batch of an epoch is a smaller one."""

    def make(out: Path, *more: object, methods: list[str]) -> list[str]:
        shape = ["--model", tiny_encoder, "--random-weights", "--data-dir", tiny_glue, "--task", "stsb", "--seeds", 1]
        short = ["--steps", 12, "--batch-size", 8, "--max-length", 16, "--calibration-steps", 2, "--kept", 0.05]
        rest = ["--lr", 1e-3, "--device", "cpu", "--methods", *methods, "--out", out, "--quiet", "--json", *more]
        return [str(word) for word in (*shape, *short, *rest)]

    return make


def records(out: Path) -> dict[str, Record]:
    """Method -> the one record of its run."""
    found, damaged = Store(out).read_all("glue")
    assert not damaged and len({record.config["method"] for record in found}) == len(found)
    return {record.config["method"]: record for record in found}


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "methods"), METHODS.items())
def test_two_processes_file_what_one_would(words: Command, tmp_path: Path, launcher: str, methods: list[str]) -> None:
    assert main(words(tmp_path / "alone", methods=methods)) == 0
    both = launched(launcher, "eval.glue", words(tmp_path / "both", methods=methods))
    assert both.returncode == 0, both.stderr
    assert len(json.loads(both.stdout)["rows"]) == len(methods)  # only one of them prints
    single, double = records(tmp_path / "alone"), records(tmp_path / "both")
    assert single.keys() == double.keys() == set(methods)
    for method, record in double.items():
        told, wanted = record.result, single[method].result
        assert record.key == single[method].key and (told["processes"], wanted["processes"]) == (2, 1)
        # fp32: sums come in another order. In fp64 and to 1e-9: tests/sparsegrad/test_distributed.py.
        assert [x for _, x in told["losses"]] == pytest.approx([x for _, x in wanted["losses"]], rel=1e-5)
        here, there = (result["splits"]["validation"] for result in (told, wanted))
        assert here["predictions"] == pytest.approx(there["predictions"], abs=1e-5)
        assert here["loss"] == pytest.approx(there["loss"], rel=1e-5)
    assert main(words(tmp_path / "both", methods=methods)) == 0 and records(tmp_path / "both") == double


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_the_run_everywhere_and_is_one_record(words: Command, tmp_path: Path) -> None:
    failed = launched("torchrun", "eval.glue", words(tmp_path, "--lr", 1e20, methods=["full"]))
    assert failed.returncode == 1 and "1 of 1 runs failed" in failed.stderr
    record = records(tmp_path)["full"]
    assert record.status is Status.ERROR and record.reason is not None
    assert record.reason.startswith("process ") and "--lr" in record.reason


@pytest.mark.slow
def test_where_accelerate_starts_one_of_two_the_command_says_so(words: Command, tmp_path: Path) -> None:
    alone = launched("accelerate --cpu", "eval.glue", words(tmp_path, "--dry-run", methods=["full"]))
    assert alone.returncode == 0 and len(json.loads(alone.stdout)) == 2
    (said,) = alone.stderr.splitlines()
    assert "was asked for several processes and has started one" in said and "--multi_gpu" in said


def _no_launcher(monkeypatch: pytest.MonkeyPatch, **given: str) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("given", [{}, {"ACCELERATE_MIXED_PRECISION": "no"}, {"MASTER_PORT": "29500"}])
def test_alone_a_run_starts_in_a_fresh_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: dict[str, str]
) -> None:
    """One process that was asked for is nothing to speak of."""
    _no_launcher(monkeypatch, **given)
    started: list[Any] = []
    assert leading(lambda start: started.append(start) or 7, argparse.Namespace()) == 7  # type: ignore[func-returns-value]
    assert started == [run_fresh]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"workers": 2}, "--workers 2: under a launcher"),
        ({"tune": 8}, "--tune: under a launcher"),
        ({"ray": "local"}, "--ray local: under a launcher"),
    ],
)
def test_what_does_not_go_with_a_launcher_is_one_line(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, object], said: str
) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadRequest, match=said) as refused:
        leading(lambda _: 0, argparse.Namespace(**given))
    assert "\n" not in str(refused.value)


def test_a_process_too_many_for_the_gpus_is_told_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it meets the others: they would wait half an hour for it."""
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(BadRequest, match=r"process 1 finds 1 GPUs .* give --device cpu"):
        leading(lambda _: 0, argparse.Namespace(device="auto"))


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize(("count", "size", "world"), [(60, 8, 2), (17, 8, 4), (16, 4, 4), (5, 8, 3)])
def test_shares_are_the_batches_of_one_process(
    monkeypatch: pytest.MonkeyPatch, count: int, size: int, world: int, empty: bool
) -> None:
    """Dealt out example for example; a batch too small to go round is everybody's, or some get nothing."""
    sampler = SeededSampler(list(range(count)), batch_size=size, seed=3, group=False)
    sampler.set_epoch(2)
    order = list(sampler)
    monkeypatch.setattr(ranks, "processes", lambda: world)
    dealt = []
    for at in range(world):
        monkeypatch.setattr(ranks, "rank", lambda at=at: at)
        shares = Shares(sampler, size, empty=empty)
        dealt.append(list(shares))
        assert len(shares) == len(dealt[-1]) == -(-count // size)
    for step, parts in enumerate(zip(*dealt, strict=True)):
        batch = order[step * size : (step + 1) * size]
        if empty or len(batch) >= world:
            assert sorted(index for part in parts for index in part) == sorted(batch)
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
        else:
            assert all(part == batch for part in parts)


def test_a_batch_that_cannot_be_dealt_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "processes", lambda: 3)
    assert each(9) == 3
    with pytest.raises(BadRequest, match="8 examples does not divide over 3 processes"):
        each(8)
