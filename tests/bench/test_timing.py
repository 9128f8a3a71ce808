"""Interleaved rounds: who takes a turn when, what a turn leaves behind, and that a failure is one contestant's own."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bench.timing
from bench.fresh import failure
from bench.timing import Contestant, Stopwatch, interleave
from bench.train import PHASES, LossNotFinite, train_step
from bench.workload import Workload, make_workload
from sparsegrad.methods import METHODS, Prepared, Settings

CPU = torch.device("cpu")
KEPT, BATCHES, LINEARS = 7, 3, 4


@pytest.fixture(scope="module")
def workload(folder: Path) -> Workload:
    return make_workload(
        model=str(folder), random_weights=True, batch_size=2, max_length=16, batches=BATCHES, calibration_steps=2
    )


@pytest.fixture
def enter(workload: Workload, bases_for: Callable[..., Any]) -> Callable[..., Contestant]:
    def made(name: str, **fields: Any) -> Contestant:
        method = METHODS[name]
        torch.manual_seed(0)
        contestant = Contestant(name=name, device=CPU, **fields)
        settings = Settings(kept=KEPT, lora_rank=2, lr=1e-2, accumulate=False)
        contestant.prepared = method.prepare(workload.build(), settings, bases_for(method, settings, workload))
        return contestant

    return made


class Clock:
    """perf_counter, by script."""

    def __init__(self, *seconds: float) -> None:
        self.seconds = iter(seconds)

    def perf_counter(self) -> float:
        return next(self.seconds)


def test_a_stopwatch_reads_the_span_of_each_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.timing, "time", Clock(10.0, 10.5, 12.5, 12.75, 20.0, 21.0, 22.0, 23.0))
    watch = Stopwatch(CPU)
    for phase in ("start", *PHASES):
        watch.mark(phase)
    assert watch.read_ms() == {"forward": 500.0, "backward": 2000.0, "optimizer": 250.0}
    for phase in ("start", *PHASES):
        watch.mark(phase)
    assert watch.read_ms() == {"forward": 1000.0, "backward": 1000.0, "optimizer": 1000.0}, "emptied by the first read"


def test_a_stopwatch_with_a_phase_missing_says_so() -> None:
    watch = Stopwatch(CPU)
    for phase in ("start", "forward"):
        watch.mark(phase)
    with pytest.raises(ValueError):
        watch.read_ms()


class Stub(Contestant):
    """Writes its turns into a common log; fails where told to."""

    def __init__(self, name: str, log: list[tuple[str, int, bool]], fails: dict[int, BaseException] | None = None):
        super().__init__(name=name, device=CPU)
        self.prepared = SimpleNamespace()  # type: ignore[assignment]
        self.log, self.fails, self.turns = log, fails or {}, 0

    def turn(self, batches: Any, steps: int, *, timed: bool) -> None:
        self.turns += 1
        if self.turns in self.fails:
            raise self.fails[self.turns]
        self.log.append((self.name, steps, timed))


def test_the_order_is_reversed_every_other_round() -> None:
    log: list[tuple[str, int, bool]] = []
    heard: list[str] = []
    ring = [Stub(name, log) for name in "abc"]
    interleave(ring, [], rounds=3, steps_per_turn=5, warmup_steps=2, progress=heard.append)
    assert log[:3] == [("a", 2, False), ("b", 2, False), ("c", 2, False)]
    assert log[3:] == [(name, 5, True) for name in "abccbaabc"]
    assert len(heard) == len(log), "one tick a turn: what the progress bar counts"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB"),
        MemoryError(),
        RuntimeError("boom"),
        LossNotFinite("the loss is nan"),
        ValueError("out of range"),
        IndexError("index out of range in self"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("at", [1, 2, 4], ids=["warm-up", "first round", "last round"])
def test_who_fails_leaves_and_the_others_go_on(error: BaseException, at: int) -> None:
    log: list[tuple[str, int, bool]] = []
    ring = [Stub("a", log), Stub("b", log, {at: error}), Stub("c", log)]
    interleave(ring, [], rounds=3, steps_per_turn=1, warmup_steps=1)
    turns = {name: sum(entry[0] == name for entry in log) for name in "abc"}
    assert turns == {"a": 4, "b": at - 1, "c": 4}
    assert ring[1].turns == at, "no further turn"
    assert ring[1].failure == failure(error)
    assert error.__traceback__ is None and not hasattr(ring[1], "prepared"), "its model is let go"
    assert ring[0].failure is None and ring[2].failure is None


def test_an_interrupt_is_nobodys_failure() -> None:
    ring = [Stub("a", [], {2: KeyboardInterrupt()})]
    with pytest.raises(KeyboardInterrupt):
        interleave(ring, [], rounds=3, steps_per_turn=1, warmup_steps=1)


class Rising(nn.Module):
    """Its loss is a number until its third batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.calls = 0

    def forward(self, input_ids: Tensor) -> SimpleNamespace:
        self.calls += 1
        return SimpleNamespace(loss=(self.weight * input_ids).sum() * (float("nan") if self.calls == 3 else 1.0))


def test_a_loss_that_is_nan_ends_the_contestant_not_the_run() -> None:
    lost = Contestant(name="lost", device=CPU)
    lost.prepared = Prepared(
        model=Rising(), optimizer=None, trainable_parameters=1, updated_parameters=1, adapter_bytes=4
    )
    log: list[tuple[str, int, bool]] = []
    interleave([lost, Stub("a", log)], [{"input_ids": torch.ones(2)}], rounds=3, steps_per_turn=1, warmup_steps=1)
    assert lost.failure is not None and "LossNotFinite" in str(lost.failure.reason)
    assert lost.losses == [2.0, 2.0], "what was measured before stays, and no NaN"
    assert len(lost.rounds_ms) == len(lost.rounds_tokens) == 1
    assert len(log) == 4


@pytest.mark.parametrize("name", METHODS)
def test_turns_go_round_the_batches_and_count_every_step(
    name: str, enter: Callable[..., Contestant], workload: Workload
) -> None:
    """One turn of n steps gives the losses of n turns of one; batch i mod n is the i-th step's."""
    fine, coarse = enter(name), enter(name)
    batches = list(workload.batches)
    for _ in range(5):
        fine.turn(batches, 1, timed=True)
    coarse.turn(batches, 5, timed=True)
    assert fine.losses == coarse.losses and fine.steps == coarse.steps == len(fine.losses) == 5
    assert len(fine.rounds_ms) == 5 and len(coarse.rounds_ms) == 1
    prepared = enter(name).prepared
    expected = [float(train_step(prepared, batches[step % BATCHES])) for step in range(5)]
    assert fine.losses == expected
    untimed = enter(name)
    untimed.turn(batches, 5, timed=False)
    assert untimed.losses == expected and untimed.rounds_ms == []


def test_a_sample_is_the_mean_of_its_steps(
    monkeypatch: pytest.MonkeyPatch, enter: Callable[..., Contestant], workload: Workload
) -> None:
    laps = iter(
        [
            {"forward": 1.0, "backward": 2.0, "optimizer": 4.0},
            {"forward": 3.0, "backward": 6.0, "optimizer": 8.0},
            {"forward": 0.5, "backward": 0.25, "optimizer": 0.25},
        ]
    )
    monkeypatch.setattr(Stopwatch, "read_ms", lambda _self: next(laps))
    contestant = enter("frozen")
    contestant.turn(workload.batches, 2, timed=True)
    contestant.turn(workload.batches, 1, timed=True)
    assert contestant.rounds_ms[0] == {"forward": 2.0, "backward": 4.0, "optimizer": 6.0}
    assert contestant.samples_ms == [12.0, 1.0]


@pytest.mark.parametrize("begins", [{}, {"park": True}, {"lead_in": True}], ids=str)
def test_a_rounds_tokens_are_the_mean_of_the_steps_it_counts(
    begins: dict[str, bool], enter: Callable[..., Contestant], workload: Workload
) -> None:
    """Padding not counted; parked, neither is the step after the move, nor one that leads in; a warm-up is no round."""
    real = [int(batch["attention_mask"].sum()) for batch in workload.batches]
    assert len(set(real)) == BATCHES, "or the wrong batches would do"
    contestant = enter("frozen", **begins)
    interleave([contestant], workload.batches, rounds=2, steps_per_turn=2, warmup_steps=1)
    # Parked or led in, a turn takes one step more, its first: of the warm-up's and each round's steps these are left.
    counted = [(3, 4), (6, 7)] if begins else [(1, 2), (3, 4)]
    expected = [(real[first % BATCHES] + real[second % BATCHES]) / 2 for first, second in counted]
    assert contestant.rounds_tokens == expected


@pytest.mark.parametrize("name", METHODS)
def test_parking_changes_no_number(
    name: str, enter: Callable[..., Contestant], workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The losses are the same; parked, the model leaves after each turn, comes before it and takes a step uncounted."""
    moves: list[str] = []
    real = bench.timing.place

    def place(prepared: Prepared, device: torch.device) -> None:
        moves.append(device.type)
        real(prepared, device)

    monkeypatch.setattr(bench.timing, "place", place)
    parked, resident = enter(name, park=True), enter(name)
    interleave([parked], workload.batches, rounds=3, steps_per_turn=2, warmup_steps=1)
    interleave([resident], workload.batches, rounds=3, steps_per_turn=3, warmup_steps=2)
    assert parked.losses == resident.losses and len(parked.losses) == 11
    assert parked.failure is None and len(moves) == 2 * 4


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.trains])
def test_parking_carries_the_optimizers_state(name: str, enter: Callable[..., Contestant], workload: Workload) -> None:
    """Every tensor of model and state moves (meta stands for a device), but AdamW's step count, as in torch."""
    contestant = enter(name)
    contestant.turn(workload.batches, 1, timed=False)
    bench.timing.place(contestant.prepared, torch.device("meta"))
    model, optimizer = contestant.prepared.model, contestant.prepared.optimizer
    assert optimizer is not None
    assert all(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    state = [(key, value) for entry in optimizer.state.values() for key, value in entry.items()]
    assert {key for key, value in state if isinstance(value, Tensor) and value.is_meta} >= {"exp_avg", "exp_avg_sq"}
    assert all(value.is_meta == (key != "step") for key, value in state if isinstance(value, Tensor))


@pytest.mark.parametrize("name", METHODS)
def test_kept_entries_are_k_and_read_in_warm_up(
    name: str, enter: Callable[..., Contestant], workload: Workload
) -> None:
    contestant = enter(name)
    interleave([contestant], workload.batches, rounds=1, steps_per_turn=1, warmup_steps=1)
    expected = {"layers": LINEARS, "least": KEPT, "most": KEPT, "sum": LINEARS * KEPT}
    # A fixed support has no entries to count: its gradient is dense, of k values.
    dynamic = METHODS[name].basis is not None and not METHODS[name].fixed
    assert contestant.kept_entries == (expected if dynamic else None)
    timed = enter(name)
    timed.turn(workload.batches, 1, timed=True)
    assert timed.kept_entries is None, "a timed step carries no probe but the watch"
