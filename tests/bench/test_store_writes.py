"""Writing a record: whole or not at all, and nothing is lost to a rival, a full disk or a kill."""

import errno
import os
import signal
import subprocess
import time
from dataclasses import replace

import pytest

from bench.record import Status
from bench.store import Store
from tests.bench.sample import RECORD, child, temporaries


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


def test_two_processes_that_measured_the_same_cell_leave_one_record(tmp_path):
    """Both looked before either had filed: the second gives the first's."""
    first, second = replace(RECORD, seed=1), replace(RECORD, seed=2)
    filed = [Store(tmp_path).file(record) for record in (first, second)]
    assert filed == [first, first] and len(list(tmp_path.glob("*/*.json"))) == 1


def test_a_failure_is_filed_beside_others_and_afresh_means_afresh(tmp_path):
    store, failed, again = Store(tmp_path), replace(RECORD, status=Status.ERROR, reason="no"), replace(RECORD, seed=3)
    assert [store.file(record) for record in (failed, RECORD, failed)] == [failed, RECORD, failed]
    assert store.file(again, again=True) == again and len(list(tmp_path.glob("*/*.json"))) == 4
