"""The tracked peak against bytes counted by hand: what lives is counted once, what died is not."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.peak import PeakReading, TrackedPeak, instrument_for
from bench.train import train_step
from sparsegrad.methods import Prepared
from sparsegrad.optim import SparseGradOptimizer
from sparsegrad.support import top_k

F32 = 4


def peak_of(action: Callable[[TrackedPeak], Any], *alive: Tensor) -> int:
    """Peak bytes of ``action``, with ``alive`` watched from the start."""
    peak = TrackedPeak()
    with peak:
        peak.watch(alive)
        peak.mark("start")
        action(peak)
        peak.mark("forward")
    return peak.read().peak_bytes


def test_an_allocation_is_read_to_the_byte() -> None:
    assert peak_of(lambda _: torch.empty(1000)) == 1000 * F32
    assert peak_of(lambda _: torch.empty(7, 3, dtype=torch.float64)) == 21 * 8
    assert peak_of(lambda _: None) == 0


def test_what_lives_already_counts_where_watched() -> None:
    """Frozen or not: a parameter takes its room."""
    frozen = nn.Parameter(torch.empty(50), requires_grad=False)
    assert peak_of(lambda _: torch.empty(10), torch.empty(100), frozen) == 160 * F32


def test_a_freed_tensor_is_not_counted() -> None:
    def one_after_the_other(_peak: TrackedPeak) -> None:
        for _ in range(5):
            made = torch.empty(1000)
            del made

    def all_at_once(_peak: TrackedPeak) -> None:
        held = [torch.empty(1000) for _ in range(5)]
        held.clear()

    assert peak_of(one_after_the_other) == 1000 * F32
    assert peak_of(all_at_once) == 5000 * F32


def test_the_highest_point_counts_not_the_last() -> None:
    peak = TrackedPeak()
    with peak:
        made = torch.empty(1000)
        del made
        small = torch.empty(10)
        peak.mark("forward")
        assert peak.live_bytes == 10 * F32
    assert peak.read().peak_bytes == 1000 * F32
    del small
    assert peak.live_bytes == 0


def test_a_storage_counts_once_and_as_long_as_any_view_lives() -> None:
    peak = TrackedPeak()
    with peak:
        whole = torch.empty(10, 10)
        views = [whole.T, whole[0], whole.view(-1)[5:], whole.expand(3, 10, 10), whole.detach()]
        peak.watch([whole, *views])
        assert peak.live_bytes == 100 * F32
        del whole
        assert peak.live_bytes == 100 * F32, "one row keeps the storage"
        del views
        assert peak.live_bytes == 0


def test_an_in_place_step_makes_nothing() -> None:
    weight = torch.zeros(100)
    assert peak_of(lambda _: weight.add_(1).mul_(2).clamp_(min=0), weight) == 100 * F32


def test_a_coo_tensor_is_its_indices_and_values() -> None:
    """k entries of a matrix: k values and two int64 each; nothing of the matrix's size."""
    dense, k = torch.randn(20, 30), 6
    made = top_k(dense, k)
    peak = TrackedPeak()
    peak.watch([made])
    assert peak.live_bytes == k * (F32 + 2 * 8)
    with peak:
        peak.mark("start")
        other = torch.sparse_coo_tensor(
            torch.zeros(2, k, dtype=torch.int64), torch.zeros(k), (20, 30), check_invariants=False
        )
        peak.mark("forward")
    assert peak.live_bytes == 2 * k * (F32 + 2 * 8)
    assert peak.read().by_phase_bytes == {"forward": 2 * k * (F32 + 2 * 8)}
    del made, other
    assert peak.live_bytes == 0


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_compressed_rows_are_counted() -> None:
    peak = TrackedPeak()
    starts, columns = torch.arange(4), torch.arange(3)
    matrix = torch.sparse_csr_tensor(starts, columns, torch.ones(3), (3, 3), check_invariants=True)
    peak.watch([matrix])
    assert peak.live_bytes == (4 + 3) * 8 + 3 * F32, "row starts and columns in int64, values"


@pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta")
def test_another_layout_is_refused_rather_than_missed() -> None:
    with pytest.raises(NotImplementedError, match="sparse_csc"):
        TrackedPeak().watch([torch.eye(3).to_sparse_csc()])


def test_what_is_saved_for_backward_lives_until_the_graph_dies() -> None:
    x = torch.ones(100, requires_grad=True)
    peak = TrackedPeak()
    with peak:
        peak.watch([x])
        y = x.exp()  # saves its result
        total = y.sum()
        del y
        assert peak.live_bytes == (100 + 100 + 1) * F32
        total.backward()
        del total
        assert peak.live_bytes == (100 + 100) * F32, "x and its gradient"


def test_each_phase_has_its_own_peak_and_start_is_none_of_them() -> None:
    peak = TrackedPeak()
    held: list[Tensor] = []
    with peak:
        for _ in range(2):
            held.clear()
            between = torch.empty(9000)  # between two steps: of no phase
            del between
            peak.mark("start")
            held.append(torch.empty(100))
            peak.mark("forward")
            spike = torch.empty(500)
            del spike
            peak.mark("backward")
            held.append(torch.empty(50))
            peak.mark("optimizer")
    read = peak.read()
    assert read.by_phase_bytes == {"forward": 100 * F32, "backward": 600 * F32, "optimizer": 150 * F32}
    assert read.peak_bytes == 600 * F32
    assert read.instrument == "tracked"
    assert read.requested_bytes is None and read.reserved_bytes is None, "CUDA's own, not measured here"


def test_a_reading_is_json() -> None:
    told = PeakReading(instrument="tracked", peak_bytes=3, by_phase_bytes={"forward": 3}).as_json()
    assert json.loads(json.dumps(told)) == told


def test_the_instrument_belongs_to_the_device() -> None:
    assert isinstance(instrument_for(torch.device("cpu")), TrackedPeak)
    assert instrument_for(torch.device("cuda")).instrument == "cuda max_memory_allocated"


T, IN, OUT = 24, 20, 12


class OneLinear(nn.Module):
    """loss = sum(x W^T): nothing is saved for backward but x and W, which live anyway."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(IN, OUT, bias=False)
        self.leak: list[Tensor] | None = None

    def forward(self, x: Tensor) -> SimpleNamespace:
        y = self.linear(x)
        if self.leak is not None:
            self.leak.append(y.detach())
        return SimpleNamespace(loss=y.sum())


def step_peak(model: OneLinear, optimizer: SparseGradOptimizer | None, steps: int = 1) -> PeakReading:
    prepared = Prepared(model=model, optimizer=optimizer, trainable_parameters=0, updated_parameters=0, adapter_bytes=0)
    batch = {"x": torch.randn(T, IN)}
    peak = TrackedPeak()
    with peak:
        peak.watch([*model.parameters(), *batch.values()])
        for _ in range(steps):
            train_step(prepared, batch, peak)
    return peak.read()


def test_the_step_of_one_linear_by_hand() -> None:
    """Floats alive at the highest point of each phase, from the equations of the step.

    forward: x, W, y, loss. backward: x, W, loss, dL/dloss (one; dL/dy is an expanded view of it), dW.
    optimizer: x, W, dW, loss and AdamW's m, v, count; of its temporaries sqrt(v), and that divided by the bias
    correction, live together.
    """
    model = OneLinear()
    read = step_peak(model, SparseGradOptimizer(list(model.parameters()), lr=0.1))
    w, x = OUT * IN, T * IN
    assert read.by_phase_bytes["forward"] == F32 * (x + w + T * OUT + 1)
    assert read.by_phase_bytes["backward"] == F32 * (x + w + 1 + 1 + w)
    assert read.by_phase_bytes["optimizer"] == F32 * (x + w + w + 1 + 2 * w + 1 + 2 * w)
    assert read.peak_bytes == read.by_phase_bytes["optimizer"]


def test_the_second_step_carries_the_optimizers_state() -> None:
    """m, v and count are alive from the first step on: the second step's forward stands on them."""
    model = OneLinear()
    read = step_peak(model, SparseGradOptimizer(list(model.parameters()), lr=0.1), steps=2)
    w, x = OUT * IN, T * IN
    state = 2 * w + 1
    assert read.by_phase_bytes["forward"] == F32 * (x + w + T * OUT + 1 + state)
    assert read.by_phase_bytes["backward"] == F32 * (x + w + 1 + 1 + w + state)


def test_a_planted_leak_is_found() -> None:
    """One activation kept a step: n steps peak higher by n - 1 of them, and without the leak by nothing."""
    sound, leaking = OneLinear(), OneLinear()
    leaking.leak = []
    two, five = (step_peak(sound, None, steps).by_phase_bytes["forward"] for steps in (2, 5))
    assert two == five
    first = step_peak(leaking, None, 2).by_phase_bytes["forward"]
    leaking.leak.clear()
    later = step_peak(leaking, None, 5).by_phase_bytes["forward"]
    assert first == two + T * OUT * F32
    assert later == two + 4 * T * OUT * F32
