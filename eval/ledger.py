"""What a run costs while it trains: seconds of its updates, and the peak memory of the first ones."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from bench.peak import PeakReading, instrument_for

__all__ = ["Ledger"]

# As bench.cells: the first update makes Adam's state, the second peaks with it. The widest batch is among the first
# where batches are grouped by length, and all are of one width where they are padded to the maximum.
_PEAK_STEPS = 2


class Ledger(TrainerCallback, ExportableState):
    """Seconds and peak bytes; saved with each checkpoint, so that a resumed run goes on counting."""

    def __init__(self) -> None:
        self.train_s = 0.0
        self.timed_s, self.timed_steps = 0.0, 0
        self.peak: dict[str, Any] | None = None
        self._began = 0.0
        self._instrument: Any = None

    def state(self) -> dict[str, Any]:
        """What the Trainer writes into a checkpoint."""
        names = ("train_s", "timed_s", "timed_steps", "peak")
        return {"args": {}, "attributes": {name: getattr(self, name) for name in names}}

    @property
    def step_s(self) -> float | None:
        """Mean seconds of the updates that were not watched for memory; None where all were."""
        return self.timed_s / self.timed_steps if self.timed_steps else None

    def on_step_begin(self, args: Any, state: Any, control: Any, **words: Any) -> None:
        """An update begins."""
        if state.global_step == 0:
            self._instrument = instrument_for(args.device)
            self._instrument.__enter__()
            model = words["model"]
            self._instrument.watch([*model.parameters(), *model.buffers()])
            self._instrument.mark("start")
        self._began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **words: Any) -> None:
        """An update is done. Those that are watched for memory are slowed by it, and count all the same in train_s."""
        spent = time.perf_counter() - self._began
        self.train_s += spent
        if self._instrument is None:
            self.timed_s, self.timed_steps = self.timed_s + spent, self.timed_steps + 1
        if self._instrument is not None and state.global_step == min(_PEAK_STEPS, state.max_steps):
            self._instrument.mark("train")
            self._instrument.__exit__(None, None, None)
            reading: PeakReading = self._instrument.read()
            self.peak = reading.as_json()
            self._instrument = None
