"""bench.speed where one method fails: a row that says why, the others measured, exit 1, tried again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench.cells import measure_calibration
from bench.request import Request
from bench.speed import main
from bench.train import LossNotFinite
from sparsegrad.errors import SparseGradError
from sparsegrad.methods import METHODS
from tests.bench.speed_run import asked, files, run_here, strict, words


class Lost(nn.Module):
    """A model whose third forward fails."""

    def __init__(self, model: nn.Module, error: BaseException) -> None:
        super().__init__()
        self.model, self.error, self.calls = model, error, 0

    def forward(self, **batch: Any) -> Any:
        self.calls += 1
        if self.calls == 3:
            raise self.error
        return self.model(**batch)


def broken(name: str, error: BaseException, when: str) -> Any:
    """The method of that name, failing when it is put into the model, or in its third step."""
    method = METHODS[name]

    def apply(*args: Any) -> nn.Module:
        if when == "prepare":
            raise error
        return Lost(method.apply(*args), error)

    return replace(method, apply=apply)


@pytest.mark.parametrize(
    ("error", "when", "status"),
    [
        (RuntimeError("boom"), "prepare", "error"),
        (RuntimeError("boom"), "third step", "error"),
        (torch.OutOfMemoryError("no room"), "third step", "oom"),
        (LossNotFinite("the loss is nan"), "third step", "error"),
        (MemoryError(), "prepare", "oom"),
        (SparseGradError("tied weights"), "prepare", "error"),
        (IndexError("out of range"), "third step", "error"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_method_that_fails_is_a_row_and_tried_again(
    error: BaseException,
    when: str,
    status: str,
    measured: Path,
    speed_model: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Peaks are known already: the failure is the race's, in this process."""
    argv = words(speed_model, measured, "--json", "--quiet", "--methods", "meprop", "lora", rounds=3)
    with monkeypatch.context() as patched:
        patched.setitem(METHODS, "meprop", broken("meprop", error, when))
        assert asked(argv, patched) == 1
    told = strict(capfd.readouterr().out)
    rows = {row["method"]: row for row in told["rows"]}
    assert rows.keys() == {"full", "lora", "meprop", "frozen"}
    assert rows["meprop"]["status"] == told["status"] == status
    assert rows["meprop"]["reason"].startswith(type(error).__name__) and rows["meprop"]["steps_per_s"] is None
    for name in ("full", "lora", "frozen"):
        assert rows[name]["status"] == "ok" and len(rows[name]["samples_ms"]) == 3
    before = files(measured)
    assert main(argv) == 0, "tried again"
    told = strict(capfd.readouterr().out)
    assert all(row["status"] == "ok" for row in told["rows"])
    assert {name.split("/")[0] for name in files(measured).keys() - before.keys()} == {"speed"}


def test_a_failed_calibration_fails_those_who_need_it(
    speed_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Per-block bases lost: compact's row says why, the shared ones and all others are measured."""
    monkeypatch.setattr("bench.cells.run_fresh", run_here)
    argv = words(speed_model, tmp_path / "out", "--json", "--quiet", "--methods", "sparsegrad-sd", "sparsegrad-compact")

    def measure(request: Request, method: str, path: Path) -> dict[str, Any]:
        if method == "sparsegrad-compact":
            raise RuntimeError("boom")
        return measure_calibration(request, method, path)

    with monkeypatch.context() as patched:
        patched.setattr("bench.cells.measure_calibration", measure)
        assert asked(argv, patched) == 1
    told = strict(capfd.readouterr().out)
    assert [(each["status"], each["reason"]) for each in told["calibrations"]] == [
        ("ok", None),
        ("error", "RuntimeError: boom"),
    ]
    rows = {row["method"]: row for row in told["rows"]}
    lost = rows.pop("sparsegrad-compact")
    assert (lost["status"], lost["reason"]) == ("error", "no bases, calibration: RuntimeError: boom")
    assert lost["steps_per_s"] is lost["peak_bytes"] is lost["adapter_bytes"] is lost["calibration_s"] is None
    assert all(row["status"] == "ok" and row["steps_per_s"] > 0 and row["peak_bytes"] > 0 for row in rows.values())
    before = files(tmp_path / "out")
    assert main(argv) == 0, "tried again"
    assert all(row["status"] == "ok" for row in strict(capfd.readouterr().out)["rows"])
    made = sorted(name.split("/")[0] for name in files(tmp_path / "out").keys() - before.keys())
    assert made == ["bases", "calibration", "peak", "speed"], "what was measured stays measured"


def test_when_full_goes_astray_the_others_still_have_a_speed(
    speed_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A rate at which training cannot last: frozen, which does not train, is measured all the same."""
    argv = words(speed_model, tmp_path / "out", "--json", "--quiet", "--methods", "full", "--lr", "1e35")
    assert main(argv) == 1
    full, frozen = strict(capfd.readouterr().out)["rows"]
    assert full["status"] == "error" and full["reason"].startswith("LossNotFinite")
    assert full["steps_per_s"] is None and full["peak_bytes"] is None
    assert frozen["status"] == "ok" and frozen["peak_bytes"] > 0 and frozen["ratio_to_full"] is None
    assert frozen["steps_per_s"] is not None and frozen["steps_per_s"] > 0
