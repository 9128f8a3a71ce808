"""The store: what is written is found again, newest first, past whatever is damaged."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import BadRequest
from bench.record import SCHEMA, Status
from bench.store import Store
from tests.bench.sample import RECORD


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


def test_a_dry_run_refuses_what_it_can_see_and_writes_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    for wrong in ("file", "file/results", "gone", "gone/results"):
        for dry in (True, False):
            with pytest.raises(BadRequest, match="cannot write records in"):
                Store.open(tmp_path / wrong, dry=dry)
    monkeypatch.chdir(tmp_path)
    assert Store.open(Path("a/b"), dry=True).read_all() == ([], [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "gone"]
    monkeypatch.setattr(os, "access", lambda place, _: Path(place).resolve() != tmp_path)  # root may write anywhere
    for folder in (Path("a/b"), tmp_path):
        with pytest.raises(BadRequest, match="Permission denied"):
            Store.open(folder, dry=True)


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
