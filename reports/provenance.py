"""A record as the provenance that a report tells: who ran what, where, from which code and data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bench.record import Record
from reports.document import Run

__all__ = ["SAMPLES_LIE", "run_id", "run_of"]

SAMPLES_LIE = (
    "Raw samples are in the records: the run FOLDER/KIND/KEY is the file KEY-1.json (or a later attempt's number) of "
    "that folder. In the HTML page they stand behind each figure, one click away."
)

"""How a reader of paper or Markdown gets to them."""

# A value longer than this is data, not a setting: its beginning tells which.
_LONGEST = 400


def run_id(folder: str, record: Record) -> str:
    """The run's name in the document: two folders, and two attempts in one, may hold a record of the same key."""
    return f"{folder}/{record.kind}/{record.key} {record.started}"


def run_of(folder: str, record: Record) -> Run:
    """The record without its result."""
    return Run(
        id=run_id(folder, record),
        kind=record.kind,
        status=record.status.value,
        reason=record.reason,
        command=record.command,
        seed=record.seed,
        started=record.started,
        ended=record.ended,
        environment=tuple(_flat(record.environment)),
        config=tuple(_flat(record.config)),
        fingerprints=tuple(_flat(record.fingerprints)),
    )


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Names joined by dots, values as text; what is not known is left out."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        elif value is not None:
            yield f"{before}{name}", _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list):
        text = ", ".join(map(str, value))
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    else:
        text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
