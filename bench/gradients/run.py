"""One run's pieces in their order: found among the records, or measured, each a record of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.calibration import intact
from bench.cells import Desk
from bench.fresh import Outcome, run_fresh
from bench.gradients.pieces import measure_bases, measure_supports, measure_training
from bench.gradients.protocol import Protocol
from bench.gradients.spaces import CALIBRATIONS
from bench.record import Record, Status

__all__ = ["Run"]

# What the request says of methods that have no part here, and what the bases and supports do not depend on.
_NOT_HERE = ("methods", "lora_rank", "fixed_basis")
_NOT_OF_SUPPORTS = (*_NOT_HERE, "trainable", "lr")
_NOT_OF_BASES = (*_NOT_OF_SUPPORTS, "kept", "core")
_READINGS, _SUPPORTS, _BASES = "gradients", "gradients_supports", "gradients_bases"


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """The pieces of one request. A piece is done where its record is ok and the file that it writes is there."""

    desk: Desk
    protocol: Protocol

    def readings(self, told: Callable[[str], None]) -> Record:
        """The record of the readings, found or measured with all that they rest on; ``told`` hears of each piece."""
        if (known := self._known(_READINGS, self._readings_config())) is not None:
            return known
        for name in CALIBRATIONS:
            told(f"bases, {name}")
            record = self._bases(name)
            if record.status is not Status.OK:
                return self._missing(record, f"no {name} bases")
        told("fixed supports")
        supports = self._supports()
        if supports.status is not Status.OK:
            return self._missing(supports, "no fixed supports")
        told(f"{self.protocol.steps} train steps, {len(self.protocol.readings)} readings")
        config, request = self._readings_config(), self.desk.request
        place = self._place(_SUPPORTS, self._supports_config())
        return self._made(_READINGS, config, measure_training, request, self.protocol, self._bases_places(), place)

    def bases(self) -> dict[str, Record]:
        """The records of the bases that are there, by the names of ``CALIBRATIONS``."""
        store, desk = self.desk.store, self.desk
        found = {name: store.find(_BASES, desk.key(_BASES, self._bases_config(name))) for name in CALIBRATIONS}
        return {name: record for name, record in found.items() if record is not None}

    def pieces(self) -> dict[str, Record | None]:
        """Each piece in words, with its record where it is done, or where the readings are there, for which it was."""
        batches, readings = self.desk.request.calibration_steps, self._known(_READINGS, self._readings_config())
        told = {
            f"{name} bases from {batches} batches": self._known(_BASES, self._bases_config(name)) or readings
            for name in CALIBRATIONS
        }
        told["fixed supports from the same batches"] = self._known(_SUPPORTS, self._supports_config()) or readings
        return {**told, f"{len(self.protocol.readings)} readings in {self.protocol.steps} train steps": readings}

    def _bases(self, name: str) -> Record:
        config = self._bases_config(name)
        place = self._place(_BASES, config)
        known = self._known(_BASES, config)
        return known or self._made(_BASES, config, measure_bases, self.desk.request, self.protocol, name, place)

    def _supports(self) -> Record:
        config, request = self._supports_config(), self.desk.request
        place, known = self._place(_SUPPORTS, config), self._known(_SUPPORTS, config)
        return known or self._made(
            _SUPPORTS, config, measure_supports, request, self.protocol, self._bases_places(), place
        )

    def _made(self, kind: str, config: dict[str, Any], function: Callable[..., Any], *args: Any) -> Record:
        started = datetime.now(UTC)
        return self.desk.file(kind, config, started, run_fresh(function, *args))

    def _missing(self, cause: Record, what: str) -> Record:
        outcome = Outcome(status=cause.status, reason=f"{what}: {cause.reason}")
        return self.desk.file(_READINGS, self._readings_config(), datetime.now(UTC), outcome)

    def _known(self, kind: str, config: dict[str, Any]) -> Record | None:
        record = self.desk.known(kind, config)
        return record if kind == _READINGS or intact(self._place(kind, config)) else None

    def _place(self, kind: str, config: dict[str, Any]) -> Path:
        """The file of a piece's tensors."""
        return self.desk.store.folder / "bases" / f"{self.desk.key(kind, config)}.safetensors"

    def _bases_places(self) -> dict[str, Path]:
        return {name: self._place(_BASES, self._bases_config(name)) for name in CALIBRATIONS}

    def _bases_config(self, name: str) -> dict[str, Any]:
        # The steps decide which examples are left for calibration.
        return {**self.desk.request.config(*_NOT_OF_BASES), "steps": self.protocol.steps, "calibration": name}

    def _supports_config(self) -> dict[str, Any]:
        return {**self.desk.request.config(*_NOT_OF_SUPPORTS), "steps": self.protocol.steps}

    def _readings_config(self) -> dict[str, Any]:
        return {**self.desk.request.config(*_NOT_HERE), **self.protocol.config()}
