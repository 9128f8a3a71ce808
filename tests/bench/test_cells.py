"""Cells: measured once, found by key, tried again where they failed; and what the measurements measure."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

import bench.cells
from bench.cells import Desk, measure_calibration, measure_peak
from bench.cli import request_of
from bench.environment import environment
from bench.fresh import Outcome, failure
from bench.peak import TrackedPeak
from bench.record import Status
from bench.request import Request
from bench.speed import parser
from bench.store import Store
from bench.workload import Workload
from sparsegrad import Bases
from sparsegrad.methods import METHODS, Prepared

LINEARS, ENTRIES, BIASES, HEAD = 4, 16 * 32, 2 * (16 + 32), 16 * 2 + 2


def measured(record):
    """The result without what every record tells of its workload."""
    assert record.result["workload"]["tokenizer"] is not None and record.result["workload"]["lora_rank"] > 0
    return {name: value for name, value in record.result.items() if name != "workload"}


@pytest.fixture(scope="module")
def request_(folder: Path) -> Request:
    words = ["--model", str(folder), "--random-weights", "--batch-size", "2", "--max-length", "16", "--device", "cpu"]
    return request_of(parser().parse_args([*words, "--calibration-steps", "2", "--kept", "5"]))


@pytest.fixture(scope="module")
def workload(request_: Request) -> Workload:
    return request_.workload()


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: how a fresh one ends is test_fresh's."""

    def run_here(function: Callable[..., Any], *args: Any) -> Outcome:
        try:
            return Outcome(status=Status.OK, value=function(*args))
        except (RuntimeError, MemoryError) as error:
            return failure(error)

    monkeypatch.setattr(bench.cells, "run_fresh", run_here)


@pytest.fixture
def desk(tmp_path: Path, request_: Request, workload: Workload) -> Desk:
    return Desk(
        store=Store.open(tmp_path / "out"), request=request_, workload=workload, command="python -m x", fresh=False
    )


def again(desk: Desk, **changes: Any) -> Desk:
    """Another run at the same store."""
    return replace(desk, **changes)


class Counted:
    """A measurement that knows how often it was made, and fails as told."""

    def __init__(self, *ends: BaseException | None) -> None:
        self.ends, self.calls = list(ends), 0

    def __call__(self) -> dict[str, Any]:
        self.calls += 1
        end = self.ends.pop(0) if self.ends else None
        if end is not None:
            raise end
        return {"peak_bytes": self.calls}


def test_a_cell_is_measured_once(desk: Desk) -> None:
    made = Counted()
    first = desk.cell("peak", {"method": "x"}, made)
    assert (first.status, measured(first), first.reason) == (Status.OK, {"peak_bytes": 1}, None)
    assert again(desk).cell("peak", {"method": "x"}, made) == first
    assert made.calls == 1


def test_another_config_is_another_cell(desk: Desk) -> None:
    made = Counted()
    desk.cell("peak", {"method": "x"}, made)
    desk.cell("peak", {"method": "y"}, made)
    desk.cell("other", {"method": "x"}, made)
    assert made.calls == 3


def test_fresh_measures_again_and_replaces_nothing(desk: Desk) -> None:
    made = Counted()
    desk.cell("peak", {}, made)
    newest = again(desk, fresh=True).cell("peak", {}, made)
    assert made.calls == 2 and measured(newest) == {"peak_bytes": 2}
    assert [record.result["peak_bytes"] for record in desk.store.read_all()[0]] == [1, 2]
    assert again(desk).cell("peak", {}, made) == newest


@pytest.mark.parametrize(
    ("error", "status"), [(torch.OutOfMemoryError("x"), Status.OOM), (RuntimeError("x"), Status.ERROR)]
)
def test_a_failure_is_recorded_and_tried_again(desk: Desk, error: BaseException, status: Status) -> None:
    made = Counted(error)
    first = desk.cell("peak", {}, made)
    assert first.status is status and measured(first) == {}
    assert first.reason is not None and first.reason.endswith(": x")
    assert desk.cell("peak", {}, made).status is Status.OK
    assert measured(desk.cell("peak", {}, made)) == {"peak_bytes": 2}
    assert made.calls == 2


@pytest.mark.parametrize("what", ["data", "model", "code"])
def test_other_data_model_or_code_is_another_cell(
    desk: Desk, workload: Workload, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Counted()
    desk.cell("peak", {}, made)
    other = workload
    if what == "code":
        monkeypatch.setattr(bench.cells, "code_fingerprint", lambda *_: "f" * 64)
    else:
        changes: dict[str, Any] = {f"{what}_fingerprint": "f" * 16}
        other = replace(workload, **changes)
    again(desk, workload=other).cell("peak", {}, made)
    assert made.calls == 2


def test_another_machine_is_another_cell(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Counted()
    desk.cell("peak", {}, made)
    monkeypatch.setattr(bench.cells, "environment", lambda device: {**environment(device), "host": "elsewhere"})
    again(desk).cell("peak", {}, made)
    assert made.calls == 2


def test_a_record_tells_where_it_comes_from(desk: Desk, request_: Request, workload: Workload) -> None:
    started = datetime.now(UTC)
    told = desk.file("speed", {"rounds": 2}, started, Outcome(status=Status.OK, value={"rows": []}))
    assert (told.command, told.seed, told.config, measured(told)) == ("python -m x", 0, {"rounds": 2}, {"rows": []})
    assert told.fingerprints["data"] == workload.data_fingerprint
    assert told.fingerprints.keys() == {"data", "model", "code"}
    assert datetime.fromisoformat(told.started) == started <= datetime.fromisoformat(told.ended)
    assert told.key == desk.key("speed", {"rounds": 2})


def test_what_a_cell_depends_on(desk: Desk, request_: Request) -> None:
    """A peak is the method's alone; bases are of the model, its text and the calibration."""
    alone = again(desk, request=replace(request_, methods=("lora",)))
    assert alone.peak_config("lora") == desk.peak_config("lora") != desk.peak_config("full")
    for change in ({"kept": 9}, {"lr": 0.5}, {"trainable": "all"}, {"lora_rank": 3}, {"methods": ("lora",)}):
        other = again(desk, request=replace(request_, **change))
        assert other.calibration_config() == desk.calibration_config()
        assert other.bases_file() == desk.bases_file()
        assert other.peak_config("lora") != desk.peak_config("lora") or change == {"methods": ("lora",)}
    for change in ({"calibration_steps": 3}, {"seed": 1}, {"dtype": "bf16"}, {"batch_size": 3}):
        other = again(desk, request=replace(request_, **change))
        assert other.calibration_config() != desk.calibration_config()


def test_calibration_leaves_bases_and_its_own_figures(desk: Desk, request_: Request, workload: Workload) -> None:
    told = desk.calibration()
    assert told.status is Status.OK and told.result["steps"] == 2
    assert told.result["calibration_s"] > 0 and told.result["peak_bytes"] > 0
    assert told.result["instrument"] == "tracked"
    bases = Bases.load(desk.bases_file())
    prepared = request_.prepare(METHODS["sparsegrad-sd"], request_.fresh_model(workload), workload, bases)
    assert prepared.updated_parameters == LINEARS * 5 + BIASES + HEAD
    assert again(desk).calibration() == told
    assert len(desk.store.read_all("calibration")[0]) == 1


def test_lost_bases_are_made_again(desk: Desk) -> None:
    """The record alone is no use to the methods."""
    desk.calibration()
    before = Bases.load(desk.bases_file())
    desk.bases_file().unlink()
    assert desk.calibration().status is Status.OK
    assert desk.bases_file().is_file() and len(desk.store.read_all("calibration")[0]) == 2
    after = Bases.load(desk.bases_file())
    for key, basis in before.table.items():
        for name, tensor in vars(basis).items():
            assert tensor is None or torch.equal(tensor, getattr(after.table[key], name))


@pytest.mark.parametrize("name", METHODS)
def test_a_peak_stands_on_all_that_the_model_holds(
    name: str, request_: Request, workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a step that only makes its loss: weights, frozen or not, bases once a role, buffers, the batch."""
    path = bases = None
    if METHODS[name].basis == "shared":
        path = tmp_path / "bases.safetensors"
        measure_calibration(request_, path)
        bases = Bases.load(path)
    steps: list[str] = []

    def idle(_prepared: Prepared, _batch: Any, probe: TrackedPeak) -> torch.Tensor:
        steps.append(name)
        probe.mark("start")
        loss = torch.zeros(())
        probe.mark("forward")
        return loss

    monkeypatch.setattr(bench.cells, "train_step", idle)
    told = measure_peak(request_, name, path)
    model = request_.prepare(METHODS[name], request_.fresh_model(workload), workload, bases).model
    held = [*model.parameters(), *model.buffers(), *workload.batches[0].values()]
    sizes = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in held}
    # The next step's loss is made before the last one's is let go.
    assert told["peak_bytes"] == sum(sizes.values()) + 2 * 4
    assert len(steps) == told["steps"] >= 2, "the first step makes Adam's moments, the second peaks with them"


@pytest.mark.parametrize("name", METHODS)
def test_a_peak_tells_its_instrument_and_what_trains(name: str, request_: Request, tmp_path: Path) -> None:
    path = None
    if METHODS[name].basis == "shared":
        path = tmp_path / "bases.safetensors"
        measure_calibration(request_, path)
    told = measure_peak(request_, name, path)
    assert told["instrument"] == "tracked" and told["requested_bytes"] is None and told["reserved_bytes"] is None
    assert told["by_phase_bytes"].keys() == {"forward", "backward", "optimizer"}
    assert told["peak_bytes"] == max(told["by_phase_bytes"].values())
    dense = LINEARS * ENTRIES + BIASES + HEAD
    low_rank = LINEARS * 7 * (16 + 32) + HEAD
    trainable = {"lora": low_rank, "frozen": 0}.get(name, dense)
    coo = METHODS[name].basis is not None
    assert told["trainable_parameters"] == trainable
    assert told["updated_parameters"] == (LINEARS * 5 + BIASES + HEAD if coo else trainable)


@pytest.mark.parametrize("name", ["full", "sparsegrad-regular"])
def test_a_peak_is_the_same_each_time(name: str, request_: Request, tmp_path: Path) -> None:
    """Bytes, not a sample: counted exactly, so equal."""
    path = tmp_path / "bases.safetensors"
    measure_calibration(request_, path)
    assert measure_peak(request_, name, path) == measure_peak(request_, name, path)


def test_the_peak_is_that_of_the_widest_batch(request_: Request) -> None:
    longest = replace(request_, padding="longest", max_length=32)
    widths = [batch["input_ids"].shape[1] for batch in longest.workload().batches]
    assert widths[0] < max(widths) < 32, "neither the first nor as wide as it could be"
    exact = replace(request_, max_length=max(widths))
    assert measure_peak(longest, "full", None)["peak_bytes"] == measure_peak(exact, "full", None)["peak_bytes"]
