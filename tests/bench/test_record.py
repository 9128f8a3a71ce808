"""Laws of the record: its text is read back, or refused with what is wrong; its key is the same everywhere."""

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.record import SCHEMA, NewerSchema, Record, Status, record_key
from bench.store import Store
from tests.bench.sample import RECORD

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(st.text(), json_values, max_size=4)
names = st.text("abcXYZ019_", min_size=1)


@st.composite
def records(draw):
    status = draw(st.sampled_from(Status))
    return Record(
        kind=draw(names),
        key=draw(names),
        status=status,
        reason=None if status is Status.OK else draw(st.text()),
        config=draw(json_objects),
        fingerprints=draw(st.dictionaries(st.text(), st.text(), max_size=3)),
        environment=draw(json_objects),
        command=draw(st.text()),
        seed=draw(st.integers()),
        started=draw(st.datetimes()).isoformat() + "Z",
        ended=draw(st.datetimes()).isoformat() + "+00:00",
        result=draw(json_objects),
    )


# The text


@settings(deadline=None, database=None, derandomize=True)
@given(records())
def test_a_record_survives_its_text(record):
    text = record.to_json()
    assert Record.from_json(text) == record
    json.loads(text, parse_constant=pytest.fail)


def test_a_record_cut_anywhere_is_refused():
    text = RECORD.to_json()
    for length in range(len(text)):
        with pytest.raises(ValueError, match="not JSON, or cut short"):
            Record.from_json(text[:length])


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_not_finite_is_refused_with_its_path(number, tmp_path):
    record = replace(RECORD, result={"rows": [{"step_ms": [1.0, number]}]})
    with pytest.raises(ValueError, match=r"^result\.rows\[0\]\.step_ms\[1\]: .* not measured is None"):
        Store.open(tmp_path).write(record)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [Path("x"), {1}, b"x", object])
def test_what_json_cannot_hold_is_refused_with_its_path(value):
    with pytest.raises(ValueError, match=r"^config\.model: .* is no JSON type"):
        replace(RECORD, config={"model": value}).to_json()


def test_names_that_json_would_turn_into_text_are_refused():
    with pytest.raises(ValueError, match=r"^config\.kept: names must be str, got int 3"):
        replace(RECORD, config={"kept": {3: "x"}}).to_json()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "1"}, "schema: int expected, got str"),
        ({"schema": True}, "schema: int expected, got bool"),
        ({"schema": 0}, "schema: 1 expected, got 0"),
        ({"seed": 1.0}, "seed: int expected, got float"),
        ({"seed": None}, "seed: int expected, got NoneType"),
        ({"config": []}, "config: dict expected, got list"),
        ({"fingerprints": {"data": 3}}, r"fingerprints\.data: str expected, got int"),
        ({"status": "fine"}, "status: one of ok, oom, error, interrupted, invalid expected, got 'fine'"),
        ({"status": ["ok"]}, "status: one of"),
        ({"status": "oom"}, "reason: needed"),
        ({"reason": "because"}, "reason: needed when, and only when, status is not ok"),
        ({"reason": 3}, r"reason: str \| None expected, got int"),
        ({"kind": "../speed"}, "kind: letters, digits and _ expected"),
        ({"key": "a-1"}, "key: letters, digits and _ expected"),
        ({"started": "yesterday"}, "started: a UTC time"),
        ({"started": "2026-01-02T03:04:05"}, "started: a UTC time"),
        ({"ended": "2026-01-02T03:04:05+02:00"}, "ended: a UTC time"),
        ({"result": {"x": math.nan}}, r"result\.x: nan"),
        ({"steps_per_s": 3, "loss": 1}, "unknown fields: loss, steps_per_s"),
    ],
)
def test_from_json_says_what_is_wrong(changes, message):
    values = json.loads(RECORD.to_json()) | changes
    with pytest.raises(ValueError, match=message):
        Record.from_json(json.dumps(values))


@pytest.mark.parametrize("name", json.loads(RECORD.to_json()))
def test_from_json_misses_each_field(name):
    values = json.loads(RECORD.to_json())
    del values[name]
    with pytest.raises(ValueError, match=f"not a record: no {name}$"):
        Record.from_json(json.dumps(values))


def test_a_newer_schema_is_its_own_error_before_its_fields_are_read():
    values = json.loads(RECORD.to_json()) | {"schema": SCHEMA + 1, "novelty": 1}
    with pytest.raises(NewerSchema, match="upgrade"):
        Record.from_json(json.dumps(values))


# The key


def test_key_is_the_same_whatever_the_order_and_differs_with_each_part():
    parts: list[dict[str, str]] = [{"kept": "1", "model": "m"}, {"data": "d", "code": "c"}, {"host": "h"}]
    key = record_key("speed", *parts)
    assert len(key) == 16 and int(key, 16) >= 0
    assert key == record_key("speed", *[dict(reversed(part.items())) for part in parts])
    others = {record_key("peak", *parts)}
    for index, part in enumerate(parts):
        for name in part:
            changed = list(parts)
            changed[index] = part | {name: "other"}
            others.add(record_key("speed", *changed))
    assert len(others) == 6 and key not in others


def test_key_is_the_same_in_every_process_and_version():
    canonical = b'{"config":{"kept":0.01},"environment":{"gpu":null},"fingerprints":{},"kind":"speed"}'
    expected = hashlib.sha256(canonical).hexdigest()[:16]
    assert record_key("speed", {"kept": 0.01}, {}, {"gpu": None}) == expected


def test_key_of_what_json_cannot_hold_is_refused():
    with pytest.raises(ValueError, match=r"config\.kept: nan"):
        record_key("speed", {"kept": math.nan}, {}, {})
