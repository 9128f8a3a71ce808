"""Two processes that are asked for the same at the same time, in one folder: one result, told by both."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bench.record import Status
from bench.store import Store
from tests.bench.sample import temporaries
from tests.bench.small_commands import MAINS, begin, end, line
from tests.bench.speed_run import strict


@pytest.mark.slow
@pytest.mark.parametrize("command", MAINS)
def test_nothing_is_lost_and_nothing_is_there_twice(command: str, speed_model: Path, tmp_path: Path) -> None:
    argv = line(command, speed_model, tmp_path, "--quiet", "--json")
    both = [begin(command, argv) for _ in range(2)]
    first, second = (end(process) for process in both)
    assert (first.code, first.err) == (second.code, second.err) == (0, "")
    assert strict(first.out) == strict(second.out), "who came second tells what the first has filed"
    records, damaged = Store(tmp_path).read_all()
    assert damaged == [] and temporaries(tmp_path) == []
    assert {record.status for record in records} == {Status.OK}
    assert set(Counter((record.kind, record.key) for record in records).values()) == {1}
