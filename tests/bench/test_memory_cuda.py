"""The CUDA instrument on an allocator that is told what to say: what is read when, and nothing read twice."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bench.capacity.probe
import bench.memory.snapshot
from bench.capacity.probe import measured_bytes
from bench.errors import BadRequest
from bench.footprint import footprint
from bench.fresh import Outcome
from bench.memory.snapshot import check_folder, outlook, snapshots, write_snapshot
from bench.peak import CudaPeak
from bench.record import Status
from sparsegrad import SparseGradOptimizer
from sparsegrad.methods import METHODS, Prepared

DEVICE = torch.device("cuda")
MIB = 2**20


class Allocator:
    """torch.cuda's statistics of a program that allocates and frees by hand; peaks last until they are reset."""

    def __init__(self) -> None:
        self.now = self.peak = self.resets = 0

    def allocate(self, mib: int) -> None:
        self.now += mib
        self.peak = max(self.peak, self.now)

    def memory_stats(self, _device: Any) -> dict[str, int]:
        return {
            "allocated_bytes.all.peak": self.peak * MIB,
            "allocated_bytes.all.current": self.now * MIB,
            "requested_bytes.all.peak": self.peak * MIB - 7,
            "reserved_bytes.all.peak": (self.peak + 20) * MIB,
        }

    def reset_peak_memory_stats(self, _device: Any) -> None:
        self.peak = self.now
        self.resets += 1


@pytest.fixture
def allocator(monkeypatch: pytest.MonkeyPatch) -> Allocator:
    made = Allocator()
    for name in ("memory_stats", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, getattr(made, name))
    for name in ("synchronize", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (1000 * MIB - made.now * MIB, 1000 * MIB))
    return made


def test_each_phase_has_its_own_statistics_of_the_allocator(allocator: Allocator) -> None:
    with CudaPeak(DEVICE) as peak:
        for step in (1, 2):
            allocator.allocate(900)
            allocator.allocate(-900)  # between two steps: of no phase
            peak.mark("start")
            allocator.allocate(10)
            peak.mark("forward")
            allocator.allocate(30 * step)
            allocator.allocate(-30 * step - 9)
            peak.mark("backward")
            allocator.allocate(2)
            peak.mark("optimizer")
    read = peak.read()
    assert read.by_phase_bytes == {"forward": 13 * MIB, "backward": 73 * MIB, "optimizer": 6 * MIB}
    assert (read.peak_bytes, read.peak_phase, read.peak_step) == (73 * MIB, "backward", 2)
    assert read.by_phase_requested_bytes == {phase: nbytes - 7 for phase, nbytes in read.by_phase_bytes.items()}
    assert read.requested_bytes == 73 * MIB - 7
    assert read.by_phase_reserved_bytes is not None and read.by_phase_reserved_bytes["forward"] == 33 * MIB
    assert read.reserved_bytes == 93 * MIB
    assert read.by_phase_device_used_bytes == {"forward": 13 * MIB, "backward": 4 * MIB, "optimizer": 6 * MIB}
    assert read.live_after_step_bytes == [3 * MIB, 6 * MIB], "three more a step: a leak"
    assert read.instrument == "cuda max_memory_allocated"
    assert allocator.resets == 1 + 2 * 4, "at the start and at each phase boundary"


def test_what_the_allocator_does_not_count_is_not_told(allocator: Allocator, monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA's own asynchronous allocator says that nothing was requested."""
    counted = allocator.memory_stats
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda device: {**counted(device), "requested_bytes.all.peak": 0})
    with CudaPeak(DEVICE) as peak:
        allocator.allocate(10)
        peak.mark("forward")
    read = peak.read()
    assert read.requested_bytes is None and read.by_phase_requested_bytes is None
    assert read.reserved_bytes == 30 * MIB


class OneLinear(nn.Linear):
    """loss = sum(x W^T)."""

    def forward(self, x: Tensor) -> Any:
        return SimpleNamespace(loss=super().forward(x).sum())


def test_the_allocator_tells_the_peak_and_the_tracked_instrument_what_it_is(allocator: Allocator) -> None:
    """As many steps under the allocator's statistics as asked, then one more under the other instrument."""
    model = OneLinear(20, 12, bias=False)
    optimizer = SparseGradOptimizer(list(model.parameters()), lr=0.1)
    counts = {"trainable_parameters": 240, "updated_parameters": 240, "adapter_bytes": 0}
    prepared = Prepared(model=model, optimizer=optimizer, **counts)
    allocator.allocate(50)
    told = footprint(prepared, {"x": torch.randn(5, 20)}, 3, allocator=DEVICE)
    assert told["instrument"] == "cuda max_memory_allocated" and told["peak_bytes"] == 50 * MIB
    assert told["steps"] == len(told["live_after_step_bytes"]) == 3 and told["leak_bytes_per_step"] == 0
    assert told["attribution_instrument"] == "tracked"
    alive = told["by_phase_category_bytes"]["backward"]
    assert (alive["weights"], alive["gradients"], alive["optimizer_state"]) == (960, 960, 2 * 960 + 4)
    assert float(optimizer.state[model.weight]["step"]) == 4


def test_a_size_is_tried_by_the_steps_alone(allocator: Allocator, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they consist of is not asked: a third step, which the largest size might not bear."""
    model = OneLinear(20, 12, bias=False)
    optimizer = SparseGradOptimizer(list(model.parameters()), lr=0.1)
    counts = {"trainable_parameters": 240, "updated_parameters": 240, "adapter_bytes": 0}
    made = Prepared(model=model, optimizer=optimizer, **counts)
    for name, value in (("filled", (None, {"x": torch.randn(5, 20)})), ("set_up", made)):
        monkeypatch.setattr(bench.capacity.probe, name, lambda *_, value=value: value)
    monkeypatch.setattr(bench.capacity.probe, "to_device", lambda batch, _device: batch)
    allocator.allocate(50)
    request: Any = SimpleNamespace(place=lambda: DEVICE)
    told = measured_bytes(request, "full", None, 5, 20)
    assert told["instrument"] == "cuda max_memory_allocated" and told["peak_bytes"] == 50 * MIB
    assert float(optimizer.state[model.weight]["step"]) == 2


def test_a_folder_that_takes_no_snapshot_is_refused_beforehand(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    check_folder(tmp_path / "to be made" / "shots")
    with pytest.raises(BadRequest, match=r"--snapshot .*file cannot be written to \(Not a directory\)"):
        check_folder(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_snapshot_appears_whole_and_recording_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[str] = []

    def record(enabled: str | None = "all", **_options: Any) -> None:
        calls.append(f"record {enabled}")

    def dump(path: str) -> None:
        calls.append("dump")
        Path(path).write_bytes(b"for torch alone")

    def step(_prepared: Any, _batch: Any) -> Tensor:
        calls.append("step")
        return torch.zeros(())

    monkeypatch.setattr(torch.cuda.memory, "_record_memory_history", record)
    monkeypatch.setattr(torch.cuda.memory, "_dump_snapshot", dump)
    monkeypatch.setattr(bench.memory.snapshot, "ready", lambda *_: (None, None))
    monkeypatch.setattr(bench.memory.snapshot, "train_step", step)
    path = tmp_path / "lora.pickle"
    write_snapshot(None, "lora", None, path)  # type: ignore[arg-type]
    assert calls == ["record all", "step", "step", "dump", "record None"]
    assert [made.name for made in tmp_path.iterdir()] == ["lora.pickle"]


def test_a_snapshot_that_is_there_is_not_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []

    def fresh(_function: Any, _request: Any, method: str, _bases: Any, path: Path) -> Outcome:
        asked.append(method)
        if method == "lora":
            return Outcome(status=Status.OOM, reason="no room")
        path.write_bytes(b"whole")
        return Outcome(status=Status.OK)

    monkeypatch.setattr(bench.memory.snapshot, "run_fresh", fresh)
    desk: Any = SimpleNamespace(fresh=False, request=None, bases_file=lambda method: None)
    methods = [METHODS[name] for name in ("full", "lora", "frozen")]
    assert snapshots(desk, methods, tmp_path / "shots") == {"lora": "no room"}
    assert snapshots(desk, methods, tmp_path / "shots") == {"lora": "no room"}
    assert asked == ["full", "lora", "frozen", "lora"]
    told = {name: state.split(",")[0] for name, state in outlook(methods, tmp_path / "shots", fresh=False).items()}
    there = "there already"
    assert told == {"full, snapshot": there, "lora, snapshot": "to be written", "frozen, snapshot": there}
    desk.fresh = True
    snapshots(desk, methods, tmp_path / "shots")
    assert asked[4:] == ["full", "lora", "frozen"]
