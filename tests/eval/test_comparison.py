"""A comparison is filed once, whoever else is at the same runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.record import Record, Status
from bench.store import Store, is_ok
from eval.comparison import file_comparison
from eval.desk import Desk
from tests.bench.sample import RECORD

STUDY: Any = SimpleNamespace(config=lambda: {"model": "tiny"}, device="cpu", seed=0)


def filed(store: Store, run: Record = RECORD, fresh: bool = False, **asked: Any) -> Record:
    desk = Desk(store=store, command="python -m eval.glue", workers=1, threads=1, fresh=fresh)
    return file_comparison(desk, "glue_comparison", STUDY, [run], {"rows": []}, datetime.now(UTC), **asked)


class Overtaken(Store):
    """Another process files its own between this one's look and its writing."""

    looked = False

    def find(self, kind: str, key: str, settled: Callable[[Record], bool] = is_ok) -> Record | None:
        found = super().find(kind, key, settled)
        if not self.looked:
            self.looked = True
            filed(Store(self.folder))
        return found


@pytest.mark.parametrize("kind", [Store, Overtaken])
def test_the_same_runs_are_one_record(kind: type[Store], tmp_path: Path) -> None:
    first, second = filed(kind(tmp_path)), filed(Store(tmp_path))
    (record,), damaged = Store(tmp_path).read_all()
    assert first == second == record and damaged == []


def test_other_words_fresh_runs_and_failures_are_records_of_their_own(tmp_path: Path) -> None:
    store, lost = Store(tmp_path), replace(RECORD, key="00fe", status=Status.OOM, reason="MemoryError")
    filed(store)
    assert filed(store, kept_list=["1%"]).config["kept_list"] == ["1%"]
    filed(store, fresh=True)
    assert filed(store, lost).reason == "1 of 1 runs failed"
    assert len(store.read_all()[0]) == 4
    filed(store, lost)
    assert len(store.read_all()[0]) == 4, "it failed in the same way: nothing new"
