"""Who takes part: parked where the GPU is too small, refused where the host is too."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import bench.entrants
from bench.entrants import Entry, enter, fit_together
from bench.record import Status
from bench.timing import Contestant
from sparsegrad.methods import METHODS

GPU = torch.device("cuda")


def peaks(**bytes_of: int) -> dict[str, Any]:
    return {name: SimpleNamespace(status=Status.OK, result={"peak_bytes": n}) for name, n in bytes_of.items()}


@pytest.mark.parametrize(("free", "fits"), [(1000, True), (889, True), (888, False), (10, False)])
def test_all_stay_where_their_peaks_and_the_twins_fit(monkeypatch: pytest.MonkeyPatch, free: int, fits: bool) -> None:
    """300 + 200 and the largest once more: 800 within 90%."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (free, 2000))
    assert fit_together(peaks(full=300, frozen=200), GPU) is fits


def test_the_host_is_never_too_small_for_the_cpu() -> None:
    assert fit_together(peaks(full=10**15), torch.device("cpu"))


def test_what_cannot_be_parked_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a process killed by the system: who fits stays, who does not says why."""
    monkeypatch.setattr(bench.entrants, "fit_together", lambda *_: False)
    monkeypatch.setattr(bench.entrants, "free_bytes", lambda: 250)
    made: list[str] = []

    def prepared(_desk: Any, name: str, *_rest: Any) -> Contestant:
        made.append(name)
        return Contestant(name=name, device=torch.device("cpu"))

    monkeypatch.setattr(bench.entrants, "_prepared", prepared)
    desk: Any = SimpleNamespace(request=SimpleNamespace(place=lambda: torch.device("cpu")))
    chosen = [Entry(name=name, method=METHODS[name], desk=desk) for name in ("full", "frozen")]
    ring = enter(chosen, {}, peaks(full=300, frozen=200))
    assert made == ["frozen"]
    lost = [contestant for contestant in ring if contestant.failure is not None]
    assert [contestant.name for contestant in lost] == ["full", "full (A/A)"]
    assert all(c.failure is not None and c.failure.status is Status.OOM and c.failure.reason for c in lost)
