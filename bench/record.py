"""One run, one JSON file: the contract between what measures and what reports.

A record is written once, whole, and never edited. Its key says what was asked, of which code, data, model and
machine, so a command that is issued again finds what it has already done.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, Self, get_origin, get_type_hints

__all__ = ["SCHEMA", "NewerSchema", "Record", "Status", "record_key"]

SCHEMA = 1


class NewerSchema(ValueError):
    """The record was written by a newer version of this project."""


class Status(StrEnum):
    """How a run ended."""

    OK = "ok"  # measured to the end
    OOM = "oom"  # ran out of memory
    ERROR = "error"  # failed
    INTERRUPTED = "interrupted"  # stopped from outside
    INVALID = "invalid"  # measured, but not to be trusted: the machine drifted


@dataclass(frozen=True, kw_only=True)
class Record:
    """What was asked, where it ran and what came out. Units stand in the names of the figures.

    Raises ValueError where a field has another type than stated, a name cannot be a file's name, a time is
    not UTC, or `reason` does not go with `status`.
    """

    schema: int = SCHEMA
    """Version of this layout."""
    kind: str
    """What was measured (speed, peak, calibration...): names the folder; letters, digits, `_`."""
    key: str
    """`record_key(...)` of the request: names the file; letters, digits, `_`."""
    status: Status
    """How the run ended."""
    reason: str | None = None
    """Why it is not ok, in one line; None when it is."""
    config: dict[str, Any]
    """The full request, defaults included."""
    fingerprints: dict[str, str]
    """Hashes of what the result depends on: data, model, code."""
    environment: dict[str, Any]
    """Where it ran: `bench.environment.environment(device)`."""
    command: str
    """What to type to run it again."""
    seed: int
    """Of every random number in the run."""
    started: str
    """UTC, ISO 8601."""
    ended: str
    """UTC, ISO 8601."""
    result: dict[str, Any]
    """Raw samples and derived figures as JSON types; None is not measured."""

    def __post_init__(self) -> None:
        for name, hint in _field_types().items():
            value = getattr(self, name)
            if not isinstance(value, hint) or (isinstance(value, bool) and hint is int):
                got = f"{type(value).__name__} {value!r:.60}"
                raise ValueError(f"{name}: {_type_name(hint)} expected, got {got}")
        if self.schema != SCHEMA:
            raise ValueError(f"schema: {SCHEMA} expected, got {self.schema}")
        for name in ("kind", "key"):
            if not re.fullmatch(r"[A-Za-z0-9_]+", getattr(self, name)):
                raise ValueError(f"{name}: letters, digits and _ expected, got {getattr(self, name)!r:.60}")
        for name, value in self.fingerprints.items():
            if not isinstance(value, str):
                raise ValueError(f"fingerprints.{name}: str expected, got {type(value).__name__}")
        for name in ("started", "ended"):
            if not _is_utc(getattr(self, name)):
                raise ValueError(f"{name}: a UTC time in ISO 8601 expected, got {getattr(self, name)!r:.60}")
        if (self.status is Status.OK) != (self.reason is None):
            raise ValueError(
                f"reason: needed when, and only when, status is not ok; {self.status}, {self.reason!r:.60}"
            )

    def to_json(self) -> str:
        """The record as strict JSON; ValueError names the path of what JSON cannot hold, NaN included."""
        values = asdict(self)
        _check_json(values, "")
        return json.dumps(values, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; NewerSchema, or a ValueError that says what is wrong."""
        try:
            values = json.loads(text)
            _check_json(values, "")
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON, or cut short: {error}") from error
        except RecursionError as error:
            raise ValueError("not a record: nested too deeply") from error
        if not isinstance(values, dict):
            raise ValueError(f"not a record: an object expected, got {type(values).__name__}")
        schema = values.get("schema")
        if isinstance(schema, int) and schema > SCHEMA:  # before its fields, which may be others
            raise NewerSchema(f"schema {schema} is newer than {SCHEMA}, the newest read here: upgrade")
        names = {field.name for field in fields(cls)}
        if missing := sorted(names - values.keys()):
            raise ValueError(f"not a record: no {', '.join(missing)}")
        if unknown := sorted(values.keys() - names):
            raise ValueError(f"unknown fields: {', '.join(unknown)}")
        if values["status"] not in list(Status):
            raise ValueError(f"status: one of {', '.join(Status)} expected, got {values['status']!r:.60}")
        return cls(**{**values, "status": Status(values["status"])})


def record_key(
    kind: str,
    config: Mapping[str, Any],
    fingerprints: Mapping[str, str],
    environment_identity: Mapping[str, Any],
) -> str:
    """16 hex digits that are equal where kind, request, code, data, model and machine are: SHA-256 over JSON
    with sorted names. ValueError names the path of anything that JSON cannot hold."""
    parts = {
        "kind": kind,
        "config": dict(config),
        "fingerprints": dict(fingerprints),
        "environment": dict(environment_identity),
    }
    _check_json(parts, "")
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _check_json(value: object, path: str) -> None:
    """ValueError with the path of the first thing that strict JSON would refuse or silently alter."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path or 'value'}: {value} is no measurement; not measured is None")
    if isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str):
                got = f"{type(name).__name__} {name!r:.60}"
                raise ValueError(f"{path or 'value'}: names must be str, got {got}")
            _check_json(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_json(item, f"{path}[{index}]")
    elif not isinstance(value, str | int | float | None):
        raise ValueError(f"{path or 'value'}: {type(value).__name__} is no JSON type")


@cache
def _field_types() -> dict[str, Any]:
    """Field -> what isinstance takes: `dict[str, Any]` becomes dict, `str | None` stays."""
    hints = get_type_hints(Record)
    return {name: dict if get_origin(hint) is dict else hint for name, hint in hints.items()}


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)


def _is_utc(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).utcoffset() == timedelta(0)
    except ValueError:
        return False
