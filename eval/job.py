"""What the desk asks of a run, whatever is trained: its name, what its result depends on, and how to do it."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any, Protocol

from eval.watch import Watch

__all__ = ["Job", "Source"]


class Source(Hashable, Protocol):
    """A model and a text: what runs start from, before any method. Equal ones have equal fingerprints."""

    @property
    def seed(self) -> int:
        """Of every random number in a run."""

    def text(self) -> Hashable:
        """The same for all sources that read the same text in the same way; their seeds may differ."""

    def text_fingerprints(self) -> dict[str, str]:
        """Of the text: data, tokens. BadRequest where it cannot be had, or does not fit the model."""

    def model_fingerprint(self) -> str:
        """Of the model's configuration and weights."""


class Job(Hashable, Protocol):
    """One run as a value. It is pickled into a fresh process, where `train` and `calibrate` are called."""

    @property
    def kind(self) -> str:
        """Of its record; those of its trials and of its bases add `_trial` and `_calibration`."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def subject(self) -> Source:
        """What it starts from."""

    @property
    def device(self) -> str:
        """Where it runs: cpu, cuda or cuda:N."""

    def config(self) -> dict[str, Any]:
        """What the result depends on, as JSON types."""

    def calibration_config(self) -> dict[str, Any] | None:
        """What the method's bases depend on, which runs may share; None for a method that wants none."""

    def train(self, folder: Path, bases: Path | None, threads: int, watch: Watch | None) -> dict[str, Any]:
        """Train, or go on from the last checkpoint in `folder`; returns the record's result."""

    def calibrate(self, path: Path, threads: int) -> dict[str, Any]:
        """Write the bases to `path`; returns the record's result, with `calibration_s`."""
