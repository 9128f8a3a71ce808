"""Runs that the system kills, for real, in place of those that a test names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.fresh import Outcome, run_fresh
from eval.launched import Start
from tests.bench.casualties import killed


def losing(which: Callable[[Any], bool]) -> Start:
    """Begins a training as `run_fresh` does; the process of each cell that is `which` ends by kill -9."""

    def start(train: Callable[..., Any], *args: Any) -> Outcome:
        return run_fresh(killed) if which(train.__self__) else run_fresh(train, *args)  # type: ignore[attr-defined]

    return start
