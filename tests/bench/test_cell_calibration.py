"""Calibrations of a run: one for all methods with equal wishes; found again, made again, failing for its own alone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import bench.cells
from bench.cells import Desk, measure_calibration
from bench.cli import request_of
from bench.fresh import Outcome, failure
from bench.record import Record, Status
from bench.request import Request
from bench.speed import parser
from bench.store import Store
from bench.workload import Workload
from sparsegrad import Bases
from sparsegrad.methods import METHODS, Method

LINEARS, KEPT, BIASES, HEAD = 4, 5, 2 * (16 + 32), 16 * 2 + 2
SHARED = [name for name, method in METHODS.items() if method.basis == "shared"]
COMPACT = METHODS["sparsegrad-compact"]


class Calls:
    """Stands for bench.fresh.run_fresh, in this process: what was run, and which calibrations are to fail."""

    def __init__(self) -> None:
        self.made: list[tuple[str, str]] = []
        self.fails: dict[str, BaseException] = {}

    def __call__(self, function: Callable[..., Any], request: Request, method: str, *rest: Any) -> Outcome:
        self.made.append((function.__name__, method))
        try:
            if function is measure_calibration and method in self.fails:
                raise self.fails[method]
            return Outcome(status=Status.OK, value=function(request, method, *rest))
        except (RuntimeError, MemoryError) as error:
            return failure(error)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    made = Calls()
    monkeypatch.setattr(bench.cells, "run_fresh", made)
    return made


@pytest.fixture(scope="module")
def request_(folder: Path) -> Request:
    words = ["--model", str(folder), "--random-weights", "--batch-size", "2", "--max-length", "16", "--device", "cpu"]
    return request_of(parser().parse_args([*words, "--calibration-steps", "2", "--kept", str(KEPT)]))


@pytest.fixture(scope="module")
def workload(request_: Request) -> Workload:
    return request_.workload()


@pytest.fixture
def desk(tmp_path: Path, request_: Request, workload: Workload) -> Desk:
    return Desk(
        store=Store.open(tmp_path / "out"), request=request_, workload=workload, command="python -m x", fresh=False
    )


def calibrated(desk: Desk, *methods: Method) -> dict[str, Record]:
    """The records by method; of all methods where none is named."""
    return desk.calibrations(methods or tuple(METHODS.values()), lambda _told: None)


def file_of(desk: Desk, name: str) -> Path:
    path = desk.bases_file(METHODS[name])
    assert path is not None
    return path


def test_bases_depend_on_the_calibration_alone(desk: Desk, request_: Request) -> None:
    """Of the model, its text and the calibration; a fixed support's also on what it keeps, and where."""
    sd = METHODS["sparsegrad-sd"]
    changes: tuple[dict[str, Any], ...] = ({"lr": 0.5}, {"trainable": "all"}, {"lora_rank": 3}, {"methods": ("lora",)})
    for change in changes:
        other = replace(desk, request=replace(request_, **change))
        for method in (sd, COMPACT):
            assert other.calibration_config(method) == desk.calibration_config(method)
            assert other.bases_file(method) == desk.bases_file(method)
    changes = ({"kept": 9}, {"core": (8, 8)}, {"fixed_basis": "shared"})
    for change in changes:
        other = replace(desk, request=replace(request_, **change))
        assert other.bases_file(sd) == desk.bases_file(sd) and other.bases_file(COMPACT) != desk.bases_file(COMPACT)
    changes = ({"calibration_steps": 3}, {"seed": 1}, {"dtype": "bf16"}, {"batch_size": 3})
    for change in changes:
        other = replace(desk, request=replace(request_, **change))
        for method in (sd, COMPACT):
            assert other.calibration_config(method) != desk.calibration_config(method)
            assert other.bases_file(method) != desk.bases_file(method)


def test_methods_with_equal_wishes_share_a_file(desk: Desk) -> None:
    assert len({desk.bases_file(METHODS[name]) for name in SHARED}) == 1
    assert desk.bases_file(COMPACT) != desk.bases_file(METHODS[SHARED[0]])
    none = [method for method in METHODS.values() if method.basis in (None, "none")]
    assert {desk.bases_file(method) for method in none} == {None}
    assert all(desk.calibration_config(method) is None for method in none)


def test_shared_bases_of_a_fixed_support_are_no_others(desk: Desk, calls: Calls, request_: Request) -> None:
    """Cut to a core and with its energies, they are not what the dynamic methods ask for."""
    given = replace(desk, request=replace(request_, fixed_basis="shared"))
    records = calibrated(given)
    assert len(calls.made) == 2 and {record.result["basis"] for record in records.values()} == {"shared"}
    assert Bases.load(file_of(given, COMPACT.name)).energies and not Bases.load(file_of(given, SHARED[0])).energies
    assert all(given.peak(METHODS[name], records[name]).status is Status.OK for name in (COMPACT.name, "sparsegrad-sd"))


@pytest.mark.parametrize("fresh", [False, True])
def test_each_calibration_is_made_once_a_run(desk: Desk, calls: Calls, fresh: bool) -> None:
    """Per-block and shared, whatever number of methods needs them; with --fresh once more, not once a method."""
    told: list[str] = []
    first = desk.calibrations(tuple(METHODS.values()), told.append)
    assert told == [f"calibration for {SHARED[0]}", f"calibration for {COMPACT.name}"]
    assert first.keys() == {*SHARED, COMPACT.name}
    assert len({record.key for record in first.values()}) == 2
    assert {first[name].key for name in SHARED} == {first[SHARED[0]].key}
    assert calls.made == [("measure_calibration", SHARED[0]), ("measure_calibration", COMPACT.name)]
    again = calibrated(replace(desk, fresh=fresh))
    assert len(calls.made) == (4 if fresh else 2)
    assert len(desk.store.read_all("calibration")[0]) == (4 if fresh else 2)
    assert {name: record.key for name, record in again.items()} == {name: r.key for name, r in first.items()}
    assert (again == first) == (not fresh)


def test_calibration_leaves_bases_and_its_own_figures(
    desk: Desk, calls: Calls, request_: Request, workload: Workload
) -> None:
    updated = {"sparsegrad-sd": LINEARS * KEPT + BIASES + HEAD, COMPACT.name: LINEARS * KEPT + HEAD}
    for name, record in calibrated(desk, *(METHODS[name] for name in updated)).items():
        told, path = record.result, file_of(desk, name)
        assert record.status is Status.OK and told["steps"] == 2 and told["basis"] == METHODS[name].basis
        assert told["calibration_s"] > 0 and told["peak_bytes"] > 0 and told["bases_bytes"] == path.stat().st_size
        assert told["instrument"] == "tracked"
        bases = Bases.load(path)
        assert bases.kind == METHODS[name].basis and bool(bases.energies) == METHODS[name].fixed
        prepared = request_.prepare(METHODS[name], request_.fresh_model(workload), workload, bases)
        assert prepared.updated_parameters == updated[name]


def test_a_calibration_with_a_core_is_found_again(desk: Desk, calls: Calls, request_: Request) -> None:
    given = replace(desk, request=replace(request_, core=(8, 12)))
    first = calibrated(given, COMPACT)
    assert {tuple(e.shape) for e in Bases.load(file_of(given, COMPACT.name)).energies.values()} == {(8, 12)}
    assert calibrated(given, COMPACT)[COMPACT.name].key == first[COMPACT.name].key and len(calls.made) == 1


def cut(path: Path) -> None:
    whole = path.read_bytes()
    path.unlink()  # tensors that were read from the file may still be those on the disk
    path.write_bytes(whole[:-100])


def foreign(path: Path) -> None:
    path.unlink()
    save_file({"u": torch.zeros(2)}, path)


def flip(path: Path) -> None:
    """One bit of a tensor; sizes and header stay."""
    whole = bytearray(path.read_bytes())
    path.unlink()
    whole[-100] ^= 1
    path.write_bytes(whole)


@pytest.mark.parametrize("spoil", [Path.unlink, cut, flip, foreign])
@pytest.mark.parametrize("name", ["sparsegrad-sd", "sparsegrad-compact"])
def test_lost_or_damaged_bases_are_made_again(
    desk: Desk, calls: Calls, name: str, spoil: Callable[[Path], None]
) -> None:
    """The record alone is no use to the methods."""
    calibrated(desk, METHODS[name])
    before = Bases.load(file_of(desk, name)).to_tensors()
    spoil(file_of(desk, name))
    assert calibrated(desk, METHODS[name])[name].status is Status.OK
    assert len(calls.made) == len(desk.store.read_all("calibration")[0]) == 2
    after = Bases.load(file_of(desk, name)).to_tensors()
    assert after[1] == before[1] and after[0].keys() == before[0].keys()
    assert all(torch.equal(tensor, after[0][key]) for key, tensor in before[0].items())


@pytest.mark.parametrize(("error", "status"), [(MemoryError(), Status.OOM), (RuntimeError("boom"), Status.ERROR)])
@pytest.mark.parametrize("broken", [SHARED[0], "sparsegrad-compact"])
def test_a_failed_calibration_fails_the_methods_that_need_it(
    desk: Desk, calls: Calls, broken: str, error: BaseException, status: Status
) -> None:
    """Its peak tells why; the other calibration and whoever needs none go on; the next run tries it again."""
    calls.fails[broken] = error
    methods = [METHODS[name] for name in ("lora", "sparsegrad-sd", "sparsegrad-compact")]
    # The first of equal wishes makes the calibration.
    records = calibrated(desk, METHODS[SHARED[0]], *methods)
    peaks = {method.name: desk.peak(method, records.get(method.name)) for method in methods}
    lost = {"sparsegrad-compact"} if broken == "sparsegrad-compact" else {"sparsegrad-sd"}
    assert {name for name, peak in peaks.items() if peak.status is not Status.OK} == lost
    (name,) = lost
    assert peaks[name].status is records[name].status is status
    assert peaks[name].reason == f"no bases, calibration: {records[name].reason}"
    assert ("measure_peak", name) not in calls.made
    calls.fails.clear()
    records = calibrated(desk, *methods)
    assert all(record.status is Status.OK for record in records.values())
    assert all(desk.peak(method, records.get(method.name)).status is Status.OK for method in methods)
    assert calls.made.count(("measure_peak", "lora")) == 1, "what was measured stays measured"
