"""Equal budgets: the same number that trains, the same bytes to keep, the same time; each as the runs then tell it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BadRequest
from bench.models import ModelSource, resolve_model
from bench.store import Store
from eval.budget import equal_rank, kept_entries
from eval.glue import main
from eval.pilot import PILOT_STEPS, equal_steps
from sparsegrad import SparseGradError, calibrate
from sparsegrad.methods import METHODS, Prepared, Settings

RANKED = ("lora", "lora-fa", "shira")


@pytest.fixture
def source(tiny_encoder: Path) -> ModelSource:
    return resolve_model(str(tiny_encoder), random_weights=True, labels=2, dropout=0.0, seed=0)


def prepared(source: ModelSource, method: str, settings: Settings, batch: Any = None) -> Prepared:
    """The method in a real model: counts that a run would record."""
    model, chosen = source.build(), METHODS[method]
    options = chosen.calibration(settings)
    bases = None if options is None else calibrate(model, [batch, batch], 2, **options)
    return chosen.prepare(model, settings, bases)


@pytest.mark.parametrize("method", RANKED)
@pytest.mark.parametrize("kept", [0.05, 0.5])
def test_equal_parameters_are_the_nearest_a_rank_can_come(source: ModelSource, method: str, kept: float) -> None:
    settings = Settings(kept=kept)
    rank = equal_rank(source, METHODS[method], settings, "params")
    goal = kept_entries(source, settings)
    assert rank is not None and goal == 4 * round(kept * 16 * 32)
    head = 2 * 16 + 2

    def off(r: int) -> int:
        return abs(prepared(source, method, Settings(kept=kept, lora_rank=r)).trainable_parameters - head - goal)

    assert off(rank) <= off(rank + 1) and (rank == 1 or off(rank) <= off(rank - 1))


@pytest.mark.parametrize("method", RANKED)
@pytest.mark.parametrize("basis", ["per-block", "shared"])
def test_equal_bytes_are_those_of_the_compact_file(
    source: ModelSource, method: str, basis: Any, tiny_batch: dict[str, Any]
) -> None:
    settings = Settings(kept=0.1, core=(8, 8), fixed_basis=basis)
    goal = prepared(source, "sparsegrad-compact", settings, tiny_batch).adapter_bytes
    rank = equal_rank(source, METHODS[method], settings, "bytes")
    assert rank is not None

    def off(r: int) -> int:
        return abs(prepared(source, method, Settings(lora_rank=r)).adapter_bytes - goal)

    assert off(rank) <= off(rank + 1) and (rank == 1 or off(rank) <= off(rank - 1))


def test_a_method_without_a_rank_has_none(source: ModelSource) -> None:
    for name in ("full", "meprop", "sparsegrad-planned", "sparsegrad-compact"):
        assert equal_rank(source, METHODS[name], Settings(kept=0.05), "params") is None
    with pytest.raises(SparseGradError, match="does not fit"):
        kept_entries(source, Settings(kept=0.05, core=(64, 64)))


def test_equal_time_counts_what_comes_before_the_first_update() -> None:
    full = {"step_s": 0.1, "convert_s": 0.0}
    assert equal_steps(100, full, full) == 100
    assert equal_steps(100, full, {"step_s": 0.05, "convert_s": 0.0}) == 200
    slow = {"step_s": 0.2, "convert_s": 1.0, "calibration_s": 4.0}
    assert equal_steps(100, full, slow) == 25
    assert equal_steps(10, full, slow) < 1
    assert equal_steps(100, slow, full) == 250


@pytest.fixture
def words(tiny_encoder: Path, tiny_glue: Path, tmp_path: Path) -> Callable[..., list[str]]:
    def make(*more: object) -> list[str]:
        shape = ["--model", tiny_encoder, "--random-weights", "--data-dir", tiny_glue, "--task", "sst2", "--seeds", 1]
        short = ["--batch-size", 8, "--max-length", 16, "--calibration-steps", 2, "--kept", 0.05, "--lr", 1e-3]
        return [str(word) for word in (*shape, *short, "--out", tmp_path, "--quiet", "--json", *more)]

    return make


def test_the_runs_have_the_rank_of_the_budget(words: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """5% of 16 x 32 is 26 entries a layer, and a rank costs 48: one; a half is 256, rank 5."""
    for kept, rank in ((0.05, 1), (0.5, 5)):
        assert main(words("--budget", "params", "--kept", kept, "--methods", "lora", "--steps", 2)) == 0
        row = json.loads(capsys.readouterr().out)["rows"][0]
        assert row["lora_rank"] == rank and row["trainable_parameters"] == 4 * 48 * rank + 34


def test_equal_time_is_what_pilots_told(words: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each method's steps follow from the records of its pilot and the reference's; found again, nothing is timed."""
    argv = words("--budget", "time", "--methods", "full", "sparsegrad-planned", "--steps", 400)
    assert main(argv) == 0
    result = json.loads(capsys.readouterr().out)
    pilots, _ = Store(tmp_path).read_all("glue_pilot")
    told = {record.config["method"]: record.result for record in pilots}
    assert len(pilots) == 2 and {result["steps"] for result in told.values()} == {PILOT_STEPS}
    assert all("machine" in record.config for record in pilots)
    steps = {row["method"]: row["steps"] for row in result["rows"]}
    assert steps["full"] == [400]
    assert steps["sparsegrad-planned"] == [equal_steps(400, told["full"], told["sparsegrad-planned"])]
    before = sorted(tmp_path.rglob("*.json"))
    assert main(argv) == 0 and sorted(tmp_path.rglob("*.json")) == before
    assert json.loads(capsys.readouterr().out) == result


def test_a_calibration_longer_than_the_reference_is_refused(words: Any) -> None:
    argv = words("--budget", "time", "--methods", "full", "sparsegrad-planned", "--steps", 1)
    with pytest.raises(BadRequest, match=r"calibration .* takes as long as 1 steps of full; give more --steps"):
        main(argv)
    with pytest.raises(BadRequest, match="give --steps N, and no --epochs"):
        main(words("--budget", "time", "--epochs", 2))
