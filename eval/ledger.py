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
        self.peak: dict[str, Any] | None = None
        self._began = 0.0
        self._instrument: Any = None

    def state(self) -> dict[str, Any]:
        """What the Trainer writes into a checkpoint."""
        return {"args": {}, "attributes": {"train_s": self.train_s, "peak": self.peak}}

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
        """An update is done. Those that are watched for memory are slowed by it, and count all the same."""
        self.train_s += time.perf_counter() - self._began
        if self._instrument is not None and state.global_step == min(_PEAK_STEPS, state.max_steps):
            self._instrument.mark("train")
            self._instrument.__exit__(None, None, None)
            reading: PeakReading = self._instrument.read()
            self.peak = reading.as_json()
            self._instrument = None
