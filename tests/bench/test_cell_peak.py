"""What a peak's cell measures: all that the model holds, the widest batch, what the method trains and what it keeps."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import bench.footprint
from bench.cells import measure_calibration, measure_peak
from bench.cli import request_of
from bench.peak import TrackedPeak
from bench.request import Request
from bench.speed import parser
from bench.workload import Workload
from sparsegrad import Bases
from sparsegrad.methods import METHODS, Prepared

LINEARS, ENTRIES, BIASES, HEAD = 4, 16 * 32, 2 * (16 + 32), 16 * 2 + 2
KEPT, RANK, FP32 = 5, 7, 4


@pytest.fixture(scope="module")
def request_(folder: Path) -> Request:
    words = ["--model", str(folder), "--random-weights", "--batch-size", "2", "--max-length", "16", "--device", "cpu"]
    return request_of(parser().parse_args([*words, "--calibration-steps", "2", "--kept", str(KEPT)]))


@pytest.fixture(scope="module")
def workload(request_: Request) -> Workload:
    return request_.workload()


@pytest.fixture(scope="module")
def bases_file(
    request_: Request, workload: Workload, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path | None]:
    """The bases that a method asks for, in a file; None where it asks for none."""
    folder = tmp_path_factory.mktemp("bases")

    def of(name: str) -> Path | None:
        if METHODS[name].calibration(request_.settings(workload)) is None:
            return None
        path = folder / f"{METHODS[name].basis}.safetensors"
        if not path.is_file():
            measure_calibration(request_, name, path)
        return path

    return of


@pytest.mark.parametrize("name", METHODS)
def test_a_peak_stands_on_all_that_the_model_holds(
    name: str,
    request_: Request,
    workload: Workload,
    bases_file: Callable[[str], Path | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a step that only makes its loss: weights, frozen or not, bases once, buffers, the batch."""
    path = bases_file(name)
    bases = None if path is None else Bases.load(path)
    steps: list[str] = []

    def idle(_prepared: Prepared, _batch: Any, probe: TrackedPeak) -> torch.Tensor:
        steps.append(name)
        probe.mark("start")
        loss = torch.zeros(())
        probe.mark("forward")
        return loss

    monkeypatch.setattr(bench.footprint, "train_step", idle)
    told = measure_peak(request_, name, path)
    model = request_.prepare(METHODS[name], request_.fresh_model(workload), workload, bases).model
    held = [*model.parameters(), *model.buffers(), *workload.batches[0].values()]
    sizes = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in held}
    # The next step's loss is made before the last one's is let go.
    assert told["peak_bytes"] == sum(sizes.values()) + 2 * FP32
    assert len(steps) == told["steps"] >= 2, "the first step makes Adam's moments, the second peaks with them"


@pytest.mark.parametrize("name", METHODS)
def test_a_peak_tells_its_instrument_and_what_trains(
    name: str, request_: Request, bases_file: Callable[[str], Path | None]
) -> None:
    told = measure_peak(request_, name, bases_file(name))
    assert told["instrument"] == "tracked" and told["requested_bytes"] is None and told["reserved_bytes"] is None
    assert told["by_phase_bytes"].keys() == {"forward", "backward", "optimizer"}
    assert told["peak_bytes"] == max(told["by_phase_bytes"].values())
    dense, low_rank = LINEARS * ENTRIES + BIASES, LINEARS * RANK * (16 + 32)
    trainable = {
        "lora": low_rank + HEAD,
        "lora-fa": low_rank // 2 + HEAD,  # factor B alone, of linears that go up and down
        "shira": low_rank + HEAD,
        "sparsegrad-compact": LINEARS * KEPT + HEAD,
        "frozen": 0,
        "frozen-drop": 0,
    }.get(name, dense + HEAD)
    coo = METHODS[name].basis is not None and not METHODS[name].fixed
    assert told["trainable_parameters"] == trainable
    assert told["updated_parameters"] == (LINEARS * KEPT + BIASES + HEAD if coo else trainable)
    # A value and its place an entry; the slices of each linear's 32 x 32 core, clipped to 16 on one side.
    compact = LINEARS * (KEPT * 2 * FP32 + FP32 * (16 * 16 + 32 * 32))
    assert told["adapter_bytes"] == {
        "lora": FP32 * low_rank,
        "lora-fa": FP32 * low_rank,
        "shira": 3 * FP32 * low_rank,  # a value and two int32 indices an entry
        "sparsegrad-compact": compact,
        "frozen": 0,
        "frozen-drop": 0,
    }.get(name, FP32 * dense)


@pytest.mark.parametrize("name", ["full", "sparsegrad-regular", "sparsegrad-compact"])
def test_a_peak_is_the_same_each_time(name: str, request_: Request, bases_file: Callable[[str], Path | None]) -> None:
    """Bytes, not a sample: counted exactly, so equal."""
    path = bases_file(name)
    assert measure_peak(request_, name, path) == measure_peak(request_, name, path)


def test_the_peak_is_that_of_the_widest_batch(request_: Request) -> None:
    longest = replace(request_, padding="longest", max_length=32)
    widths = [batch["input_ids"].shape[1] for batch in longest.workload().batches]
    assert widths[0] < max(widths) < 32, "neither the first nor as wide as it could be"
    exact = replace(request_, max_length=max(widths))
    assert measure_peak(longest, "full", None)["peak_bytes"] == measure_peak(exact, "full", None)["peak_bytes"]
