"""Cells: measured once, found by key, tried again where they failed."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

import bench.cells
from bench.cells import Desk
from bench.cli import request_of
from bench.environment import environment
from bench.fresh import Outcome, failure
from bench.record import Status
from bench.request import Request
from bench.speed import parser
from bench.store import Store
from bench.workload import Workload


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
    """A peak is the method's alone, and of everything else that was asked."""
    alone = again(desk, request=replace(request_, methods=("lora",)))
    assert alone.peak_config("lora") == desk.peak_config("lora") != desk.peak_config("full")
    for change in ({"kept": 9}, {"core": (8, 8)}, {"lr": 0.5}, {"trainable": "all"}, {"lora_rank": 3}, {"seed": 1}):
        assert again(desk, request=replace(request_, **change)).peak_config("lora") != desk.peak_config("lora")
