"""Laws of the record: what is written is read back, whole or not at all, and nothing is lost."""

import errno
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BadRequest
from bench.record import SCHEMA, NewerSchema, Record, Status, record_key
from bench.store import Store

ROOT = Path(__file__).parents[2]
RECORD = Record(
    kind="speed",
    key="00ff",
    status=Status.OK,
    config={"model": "minilm-l6", "kept": 0.01, "methods": ["full", "lora"]},
    fingerprints={"code": "c0de"},
    environment={"host": "here", "gpu": None},
    command="python -m bench.speed",
    seed=0,
    started="2026-01-02T03:04:05+00:00",
    ended="2026-01-02T03:05:05Z",
    result={"step_ms": [1.5, 2.25]},
)

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


def child(script, *argv, **options):
    """A process with `script` in which `store` is open on argv[1] and `RECORD` is this module's."""
    head = (
        "import os, signal, sys; from dataclasses import replace; from pathlib import Path\n"
        "from bench.record import Record\nfrom bench.store import Store\n"
        "store = Store(Path(sys.argv[1])); RECORD = Record.from_json(sys.argv[2])\n"
    )
    command = [sys.executable, "-c", head + script, argv[0], RECORD.to_json(), *argv[1:]]
    return subprocess.Popen([str(word) for word in command], cwd=ROOT, text=True, **options)


def temporaries(folder):
    return [path for path in folder.rglob("*") if path.name.endswith(".tmp")]


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


# The store


def test_open_makes_the_folder_and_leaves_it_empty(tmp_path):
    Store.open(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_unwritable_folder_is_a_bad_request_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadRequest) as caught:
        Store.open(tmp_path / "file" / "results")
    assert str(caught.value) == (
        f"cannot write records in '{tmp_path}/file/results' (Not a directory): "
        "give a folder that can be written to, --out DIR"
    )


def test_folder_that_takes_no_file_is_a_bad_request(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(BadRequest, match="No space left on device"):
        Store.open(tmp_path)


def test_find_takes_the_newest_ok_record_past_failed_and_damaged_ones(tmp_path):
    store = Store.open(tmp_path)
    for seed in range(11):
        store.write(replace(RECORD, seed=seed))
    store.write(replace(RECORD, status=Status.OOM, reason="24 GiB asked"))
    (tmp_path / "speed" / "00ff-13.json").write_text("{")
    store.write(replace(RECORD, key="00ff00", seed=99))
    assert store.find("speed", "00ff") == replace(RECORD, seed=10)
    assert store.find("speed", "none") is None
    assert store.find("peak", "00ff") is None


def test_read_all_is_in_order_and_by_kind(tmp_path):
    store = Store.open(tmp_path)
    written = [replace(RECORD, kind="peak")] + [replace(RECORD, seed=seed) for seed in range(12)]
    for record in written[1:] + written[:1]:
        store.write(record)
    assert store.read_all() == (written, [])
    assert store.read_all("speed") == (written[1:], [])
    assert store.read_all("none") == ([], [])


def test_damaged_files_are_listed_and_the_rest_is_read(tmp_path):
    store = Store.open(tmp_path)
    whole = store.write(RECORD)
    text = whole.read_text()
    values = json.loads(text)
    foreign = {
        "a-1.json": (text[: len(text) // 2].encode(), "cut short"),
        "b-1.json": (b"", "cut short"),
        "c-1.json": (b"\xff\xfe", "decode"),
        "d-1.json": (b"[1]", "an object expected"),
        "e-1.json": (b"[" * 100_000, "nested too deeply"),
        "f-1.json": (json.dumps(values | {"schema": SCHEMA + 1}).encode(), "newer"),
        "g-1.json": (text.encode(), "misplaced: holds kind speed, key 00ff"),
        "h-1.json": (text.replace("1.5", "NaN").encode(), "nan is no measurement"),
        "notes.json": (text.encode(), "not a record's name"),
    }
    for name, (content, _) in foreign.items():
        (tmp_path / "speed" / name).write_bytes(content)
    (tmp_path / "speed" / "z-1.json").mkdir()
    (tmp_path / "speed" / ".00ff.0123.tmp").write_text(text)  # of a killed process
    found, damaged = store.read_all()
    reasons = {path.name: reason for path, reason in damaged}
    assert found == [RECORD]
    assert reasons.keys() == foreign.keys() | {"z-1.json"}
    for name, (_, reason) in foreign.items():
        assert reason in reasons[name], name


def test_a_rival_who_takes_the_name_first_is_not_overwritten(tmp_path, monkeypatch):
    store, link = Store.open(tmp_path), os.link

    def late(source, target):
        monkeypatch.setattr(os, "link", link)
        store.write(replace(RECORD, seed=1))
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    path = store.write(replace(RECORD, seed=2))
    assert path.name == "00ff-2.json"
    assert [record.seed for record in store.read_all()[0]] == [1, 2]
    assert temporaries(tmp_path) == []


def test_without_hard_links_nothing_is_overwritten_either(tmp_path, monkeypatch):
    def no_links(*_):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    store = Store.open(tmp_path)
    store.write(replace(RECORD, seed=1))
    monkeypatch.setattr(store, "_attempts", lambda *_: [])  # as seen before the rival wrote
    store.write(replace(RECORD, seed=2))
    assert [record.seed for record in store.read_all()[0]] == [1, 2]
    assert temporaries(tmp_path) == []


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_failing_disk_leaves_nothing_and_says_so(call, tmp_path, monkeypatch):
    store = Store.open(tmp_path)
    store.write(RECORD)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="cannot write the speed record 00ff: No space left") as caught:
        store.write(RECORD)
    assert caught.value.errno == errno.ENOSPC
    assert [path.name for path in (tmp_path / "speed").iterdir()] == ["00ff-1.json"]


def test_a_file_that_may_not_grow_leaves_nothing(tmp_path):
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try: store.write(replace(RECORD, result={'step_ms': [1.5] * 50_000}))\n"
        "except OSError as error: print(error.strerror)\n"
    )
    process = child(script, tmp_path, stdout=subprocess.PIPE)
    out, _ = process.communicate()
    assert out.startswith("cannot write the speed record 00ff: ")
    assert list((tmp_path / "speed").iterdir()) == []


@pytest.mark.parametrize(("call", "whole"), [("fsync", 0), ("link", 0), ("unlink", 1)])
def test_killed_at_each_step_the_record_is_whole_or_absent(call, whole, tmp_path):
    die = f"os.{call} = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\nstore.write(RECORD)\n"
    assert child(die, tmp_path).wait() == -signal.SIGKILL
    assert len(temporaries(tmp_path)) == 1
    store = Store.open(tmp_path)
    assert store.read_all() == ([RECORD] * whole, [])
    store.write(RECORD)
    assert store.read_all() == ([RECORD] * (whole + 1), [])


def test_killed_in_a_loop_of_writes_only_whole_records_remain(tmp_path):
    big = replace(RECORD, result={"step_ms": [1.5] * 20_000})
    loop = "big = replace(RECORD, result={'step_ms': [1.5] * 20_000})\nwhile True: store.write(big)\n"
    for count in (1, 4, 9):
        process = child(loop, tmp_path)
        while len(list(tmp_path.glob("speed/*.json"))) < count:
            assert process.poll() is None
            time.sleep(0.001)
        process.kill()
        process.wait()
        found, damaged = Store(tmp_path).read_all()
        assert damaged == []
        assert len(found) >= count and all(record == big for record in found)


def test_two_processes_on_one_key_lose_nothing(tmp_path):
    script = (
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for seed in range(40): store.write(replace(RECORD, seed=seed, command=sys.argv[3]))\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    writers = [child(script, tmp_path, name, **pipes) for name in ("one", "two")]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    found, damaged = Store(tmp_path).read_all()
    assert damaged == [] and temporaries(tmp_path) == []
    assert sorted((record.command, record.seed) for record in found) == [
        (name, seed) for name in ("one", "two") for seed in range(40)
    ]
    assert len(list(tmp_path.glob("speed/00ff-*.json"))) == 80
