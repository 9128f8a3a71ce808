"""Interleaved rounds: every method takes a turn a round, the order reversed every other round, raw samples kept."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from bench.fresh import Outcome, failure
from bench.record import Status
from bench.train import PHASES, finite, real_tokens, to_device, train_step
from sparsegrad.methods import Prepared


class Stopwatch:
    """Milliseconds of each phase of one step: CUDA events on a GPU (read after a synchronise), else the clock."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._marks: list[Any] = []

    def mark(self, phase: str) -> None:
        """See ``train.Probe``."""
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self.device))
            self._marks.append(event)
        else:
            self._marks.append(time.perf_counter())

    def read_ms(self) -> dict[str, float]:
        """Phase -> milliseconds since the mark before it; the watch is empty afterwards."""
        marks, self._marks = self._marks, []
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            spans = [before.elapsed_time(after) for before, after in pairwise(marks)]
        else:
            spans = [1e3 * (after - before) for before, after in pairwise(marks)]
        return dict(zip(PHASES, spans, strict=True))


@dataclass(kw_only=True)
class Contestant:
    """A prepared method in the ring: its own batch counter, losses of every step, samples of each timed turn.

    ``park``: wait on the host between turns. ``lead_in``, and where it parks: each turn begins with a step that is not
    counted, which pays for what the others left behind (their memory, the caches), as no step of a training run does.
    ``convert_s``: seconds to put the method into its model. ``kept_entries``: COO entries a layer, seen in warm-up.
    ``rounds_ms``: one mapping phase -> mean milliseconds a step, for each round; ``rounds_tokens``: real tokens a step
    in it, padding not counted. ``failure``: why it left, if it did.
    """

    name: str
    device: torch.device
    prepared: Prepared = field(init=False)
    park: bool = False
    lead_in: bool = False
    seed: int = 0
    convert_s: float | None = None
    kept_entries: dict[str, int] | None = None
    steps: int = 0
    losses: list[float] = field(default_factory=list)
    rounds_ms: list[dict[str, float]] = field(default_factory=list)
    rounds_tokens: list[float] = field(default_factory=list)
    failure: Outcome | None = None

    def fail(self, status: Status, reason: str | None) -> None:
        """Leave the comparison; what the model held goes back to the others."""
        self.failure = Outcome(status=status, reason=reason)
        self.__dict__.pop("prepared", None)
        gc.collect()

    def fail_with(self, error: Exception) -> None:
        """Leave because of an error, told in its words."""
        told = failure(error)
        error.__traceback__ = None  # its frames hold the model
        self.fail(told.status, told.reason)

    def turn(self, batches: Sequence[Mapping[str, Tensor]], steps: int, *, timed: bool) -> None:
        """Take ``steps`` train steps; where ``timed``, their mean is this round's sample.

        Each step is seeded by its number, so that dropout draws the same masks for every contestant.
        """
        watch = Stopwatch(self.device)
        laps, tokens = [], []
        if self.park:
            place(self.prepared, self.device)
        led = self.park or self.lead_in
        for _ in range(steps + led):
            batch = to_device(batches[self.steps % len(batches)], self.device)
            torch.manual_seed(self.seed + self.steps)
            loss = train_step(self.prepared, batch, watch, *(() if timed else (_KeptEntries(self),)))
            laps.append(watch.read_ms())
            tokens.append(real_tokens(batch))
            self.losses.append(finite(loss))
            self.steps += 1
        if timed:
            self.rounds_tokens.append(fmean(tokens[led:]))
            self.rounds_ms.append({phase: fmean(lap[phase] for lap in laps[led:]) for phase in PHASES})
        if self.park:
            place(self.prepared, torch.device("cpu"))

    @property
    def samples_ms(self) -> list[float]:
        """Milliseconds a step, one figure a round."""
        return [sum(sample.values()) for sample in self.rounds_ms]


class _KeptEntries:
    """Reads off each COO gradient, between backward and step, how many entries it really has."""

    def __init__(self, contestant: Contestant) -> None:
        self.contestant = contestant

    def mark(self, phase: str) -> None:
        """See ``train.Probe``."""
        if phase != "backward":
            return
        gradients = [p.grad for p in self.contestant.prepared.model.parameters() if p.grad is not None]
        counts = [gradient._nnz() for gradient in gradients if gradient.is_sparse]
        if counts:
            told = {"layers": len(counts), "least": min(counts), "most": max(counts), "sum": sum(counts)}
            self.contestant.kept_entries = told


def place(prepared: Prepared, device: torch.device) -> None:
    """Move a model and its optimizer's state: parked on the host, or back on the device for its turn."""
    prepared.model.to(device)
    if prepared.optimizer is not None:
        for state in prepared.optimizer.state.values():
            for name, value in state.items():
                # AdamW's step count stays on the host unless capturable, as torch puts it there.
                if isinstance(value, Tensor) and name != "step":
                    state[name] = value.to(device)
    if device.type == "cpu" and torch.cuda.is_available():
        torch.cuda.empty_cache()


def interleave(
    contestants: Sequence[Contestant],
    batches: Sequence[Mapping[str, Tensor]],
    *,
    rounds: int,
    steps_per_turn: int,
    warmup_steps: int,
    progress: Callable[[str], None] = lambda _what: None,
    between: Callable[[], None] = lambda: None,
) -> None:
    """Warm every contestant up, then ``rounds`` rounds; a contestant that fails leaves, the others go on.

    ``between``: called before the first round and after each (``machine.MachineLog``).
    """
    for contestant in contestants:
        _turn(contestant, batches, warmup_steps, timed=False)
        progress(f"warm-up: {contestant.name}")
    between()
    for number in range(rounds):
        order = contestants if number % 2 == 0 else list(reversed(contestants))
        for contestant in order:
            _turn(contestant, batches, steps_per_turn, timed=True)
            progress(f"round {number + 1} of {rounds}: {contestant.name}")
        between()


def _turn(contestant: Contestant, batches: Sequence[Mapping[str, Tensor]], steps: int, *, timed: bool) -> None:
    if contestant.failure is not None:
        return
    try:
        contestant.turn(batches, steps, timed=timed)
    except Exception as error:  # whatever befalls one method is a row of the table; the others go on
        contestant.fail_with(error)
