"""A run is cells, each measured once: found by its key among the records, or run in a fresh process and recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.batches import Batch
from bench.calibration import intact, timed_calibration
from bench.environment import code_fingerprint, environment, identity
from bench.footprint import footprint
from bench.fresh import Outcome, run_fresh
from bench.peak import instrument_for
from bench.record import Record, Status, record_key
from bench.request import Request
from bench.store import Store
from bench.train import to_device
from bench.workload import Workload
from sparsegrad import Bases, calibrate
from sparsegrad.methods import METHODS, Method, Prepared

# What one method's peak does not depend on, and what the bases do not.
_NOT_OF_PEAK = ("methods",)
_NOT_OF_CALIBRATION = ("methods", "kept", "core", "fixed_basis", "lora_rank", "trainable", "lr")
# The first step makes Adam's state, the second peaks with it, the rest tell whether memory grows.
_PEAK_STEPS = 4
# The second batch finds the Grams of the first made.
_CALIBRATION_PEAK_STEPS = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Desk:
    """Where cells are looked up and filed: the store, and what every record of this run says of itself."""

    store: Store
    request: Request
    workload: Workload
    command: str
    fresh: bool

    def key(self, kind: str, config: dict[str, Any]) -> str:
        """The cell's key: the request, data, model, code, libraries and machine."""
        return record_key(kind, config, self.fingerprints, self._machine)

    @cached_property
    def _machine(self) -> dict[str, Any]:
        return identity(environment(self.request.device))

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Of data, model and code, read once: the code that runs is the code that was loaded."""
        return {
            "data": self.workload.data_fingerprint,
            "model": self.workload.model_fingerprint,
            "code": code_fingerprint("sparsegrad", "bench"),
        }

    @cached_property
    def told(self) -> dict[str, Any]:
        """What the request came to: text, tokenizer, lengths, and the settings that were left to the model."""
        settings = self.request.settings(self.workload)
        chosen = {"lora_rank": settings.lora_rank, "every": settings.every, "targets": settings.targets}
        return {**self.workload.description, **chosen}

    def known(self, kind: str, config: dict[str, Any]) -> Record | None:
        """The ok record of this cell, unless everything is to be measured afresh."""
        return None if self.fresh else self.store.find(kind, self.key(kind, config))

    def file(
        self, kind: str, config: dict[str, Any], started: datetime, outcome: Outcome, *, again: bool = False
    ) -> Record:
        """Write the outcome of a cell as a record; ``again``: beside the ok one that is known to be there."""
        record = Record(
            kind=kind,
            key=self.key(kind, config),
            status=outcome.status,
            reason=outcome.reason,
            config=config,
            fingerprints=self.fingerprints,
            environment=environment(self.request.device),
            command=self.command,
            seed=self.request.seed,
            started=started.isoformat(),
            ended=datetime.now(UTC).isoformat(),
            result={**(outcome.value or {}), "workload": self.told},
        )
        return self.store.file(record, again=again or self.fresh)

    def cell(
        self,
        kind: str,
        config: dict[str, Any],
        function: Callable[..., Any],
        *args: Any,
        settle: Callable[[Outcome], Outcome] = lambda outcome: outcome,
    ) -> Record:
        """The cell's record: the one there is, or a new one of ``function(*args)`` in a fresh process; ``settle``: what
        its outcome comes to."""
        known = self.known(kind, config)
        if known is not None:
            return known
        started = datetime.now(UTC)
        return self.file(kind, config, started, settle(run_fresh(function, *args)))

    def calibration_config(self, method: Method) -> dict[str, Any] | None:
        """What the method's bases depend on; None where it needs none."""
        options = method.calibration(self.request.settings(self.workload))
        return None if options is None else {**self.request.config(*_NOT_OF_CALIBRATION), "calibration": options}

    def peak_config(self, method: str) -> dict[str, Any]:
        """What one method's peak depends on."""
        return {"method": method, **self.request.config(*_NOT_OF_PEAK)}

    def bases_file(self, method: Method) -> Path | None:
        """Where the method's bases are kept, so that a rerun need not calibrate again; None where it needs none."""
        config = self.calibration_config(method)
        return (
            None if config is None else self.store.folder / "bases" / f"{self.key('calibration', config)}.safetensors"
        )

    def calibrations(self, methods: Sequence[Method], told: Callable[[str], None]) -> dict[str, Record]:
        """Method name -> the record of its calibration, made or found; methods with equal wishes share one."""
        by_file: dict[Path, Record] = {}
        records = {}
        for method in methods:
            path = self.bases_file(method)
            if path is None:
                continue
            if path not in by_file:
                told(f"calibration for {method.name}")
                by_file[path] = self._calibration(method, path)
            records[method.name] = by_file[path]
        return records

    def _calibration(self, method: Method, path: Path) -> Record:
        config = self.calibration_config(method)
        assert config is not None
        known = self.known("calibration", config)
        if known is not None and intact(path):
            return known
        started = datetime.now(UTC)
        outcome = run_fresh(measure_calibration, self.request, method.name, path)
        return self.file("calibration", config, started, outcome, again=known is not None)

    def peak(self, method: Method, calibration: Record | None) -> Record:
        """One method's peak memory, from a fresh process; where its bases could not be made, that is its record."""
        config = self.peak_config(method.name)
        if calibration is None or calibration.status is Status.OK:
            return self.cell("peak", config, measure_peak, self.request, method.name, self.bases_file(method))
        reason = f"no bases, calibration: {calibration.reason}"
        return self.file("peak", config, datetime.now(UTC), Outcome(status=calibration.status, reason=reason))


def measure_calibration(request: Request, method: str, path: Path) -> dict[str, Any]:
    """Write a method's bases to ``path``, see ``timed_calibration``; then the peak memory of one of two batches.

    The peak does not grow with the number of batches: gradients are folded into the Gram matrices one at a time.
    """
    workload = request.workload()
    model = request.fresh_model(workload)
    options: dict[str, Any] = {
        **(METHODS[method].calibration(request.settings(workload)) or {}),
        "model_name": workload.description["model"],
        "data_name": workload.name,
    }
    batches, device = workload.calibration_batches, request.place()
    bases, spent = timed_calibration(model, batches, request.calibration_steps, device, **options)
    bases.save(path)
    instrument = instrument_for(device)
    steps = min(_CALIBRATION_PEAK_STEPS, request.calibration_steps)
    with instrument:
        instrument.watch([*model.parameters(), *model.buffers()])
        instrument.mark("start")
        calibrate(model, batches, steps, **options)
        instrument.mark("calibration")
    told = {**spent, "steps": request.calibration_steps, "basis": bases.kind}
    return {**told, "bases_bytes": path.stat().st_size, **instrument.read().as_json()}


def ready(request: Request, method: str, bases: Path | None) -> tuple[Prepared, Batch]:
    """The method in a fresh model, and the widest batch, both on the device."""
    workload = request.workload()
    device = request.place()
    prepared = request.prepare(
        METHODS[method], request.fresh_model(workload), workload, None if bases is None else Bases.load(bases)
    )
    return prepared, to_device(max(workload.batches, key=lambda made: made["input_ids"].numel()), device)


def measure_peak(request: Request, method: str, bases: Path | None) -> dict[str, Any]:
    """Memory of one method's train step on the widest batch (``footprint``), and what the method trains."""
    prepared, batch = ready(request, method, bases)
    device = request.place()
    return footprint(prepared, batch, _PEAK_STEPS, allocator=device if device.type == "cuda" else None)
