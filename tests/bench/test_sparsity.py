"""``bench.sparsity`` from its words to its records: rows, resume, dry run, refusals, one failed level."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.errors import BadRequest
from bench.request import Request
from bench.sparsity.__main__ import main, parser
from bench.sparsity.energy import measure_energy
from bench.sparsity.table import cells, print_sparsity
from tests.bench.speed_run import files, run_here, strict, words

ENTRIES = 16 * 32
LOST: dict[str, Any] = {
    **dict.fromkeys(("step_ms", "ratio_to_full", "verdict", "peak_bytes", "peak_ratio_to_full", "state_bytes")),
    **{"method": "x 5", "of_method": "x", "kept": "5", "energy": None, "status": "oom", "reason": "no room"},
}


def asked(folder: Path, out: Path, *more: str) -> list[str]:
    return words(folder, out, "--kept-list", "1%", "50", "dense", *more)


@pytest.fixture(scope="module")
def told(
    speed_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Callable[[pytest.CaptureFixture[str]], dict[str, Any]]]:
    """A folder that is measured by the first who asks."""
    out = tmp_path_factory.mktemp("sparsity") / "out"

    def result(capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("bench.cells.run_fresh", run_here)
            methods = ("--methods", "sparsegrad-planned", "sparsegrad-compact")
            assert main(asked(speed_model, out, "--json", "--quiet", *methods)) == 0
        return strict(capfd.readouterr().out)

    return out, result


def test_a_row_for_each_method_and_sparsity(told: Any, capfd: pytest.CaptureFixture[str]) -> None:
    _, result = told
    value = result(capfd)
    rows = {row["method"]: row for row in value["rows"]}
    kept = [
        f"{method} {word}" for method in ("sparsegrad-planned", "sparsegrad-compact") for word in ("1%", "50", "dense")
    ]
    assert list(rows) == ["full", *kept, "frozen"]
    for name in kept:
        row = rows[name]
        method, word = name.split()
        count = {"1%": 5, "50": 50, "dense": ENTRIES}[word]
        assert (row["of_method"], row["kept"], row["status"]) == (method, word, "ok")
        assert row["energy"]["kept_share"] == pytest.approx(count / ENTRIES)
        assert all(layer["kept_entries"] == count for layer in row["energy"]["layers"])
        assert row["ratio_to_full"]["rounds"] == 2 and row["peak_bytes"] > 0
        if method == "sparsegrad-planned":
            assert row["kept_entries"]["most"] == row["kept_entries"]["least"] == count
    assert rows["full"]["kept"] is rows["full"]["energy"] is rows["frozen"]["energy"] is None
    shares = [rows[name]["energy"]["energy_share"]["mean"] for name in kept]
    assert shares == [*sorted(shares[:3]), *sorted(shares[3:])] and min(shares[2], shares[5]) == pytest.approx(
        1, abs=1e-4
    )
    assert value["machine"]["drift"] == "note" and len(value["machine"]["readings"]) == 3
    # Adam's two moments of four linears' values, of the head's weight and bias, and the step counts.
    state = {word: rows[f"sparsegrad-compact {word}"]["state_bytes"] for word in ("1%", "dense")}
    assert state["dense"] - state["1%"] == 2 * 4 * 4 * (ENTRIES - 5)


def test_again_is_a_no_op_that_says_so(told: Any, speed_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out, result = told
    value = result(capfd)
    before = files(out)
    methods = ("--methods", "sparsegrad-compact", "sparsegrad-planned")
    assert main(asked(speed_model, out, *methods)) == 0
    printed, said = capfd.readouterr()
    assert said.startswith("bench.sparsity: measured already") and files(out) == before
    assert "energy kept" in printed and printed.count("sparsegrad-planned") >= 3
    assert main(asked(speed_model, out, "--dry-run", "--json", *methods)) == 0
    plan = strict(capfd.readouterr().out)
    assert set(plan.values()) == {"measured already", "about 0 s"} and files(out) == before
    assert value["key"] in next(name for name in before if name.startswith("sparsity/"))


def test_a_cell_that_is_there_is_not_measured_twice(
    told: Any, speed_model: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another list of sparsities: the levels in common, and the bases, are found."""
    out, result = told
    result(capfd)
    before = files(out)
    monkeypatch.setattr("bench.cells.run_fresh", run_here)
    argv = words(speed_model, out, "--json", "--quiet", "--kept-list", "50", "0.01", "7", "1%")
    assert main(argv) == 0
    assert [row["kept"] for row in strict(capfd.readouterr().out)["rows"]] == [None, "50", "0.01", "7", None]
    made = sorted(name.split("/")[0] for name in files(out).keys() - before.keys() if name.endswith(".json"))
    assert made == ["energy", "peak", "sparsity"]


def test_a_level_that_fails_is_a_row_and_the_others_go_on(
    speed_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.cells.run_fresh", run_here)

    def lost(request: Request, method: str, bases: Path | None) -> dict[str, Any]:
        if request.kept == 50:
            raise MemoryError("no room")
        return measure_energy(request, method, bases)

    argv = asked(speed_model, tmp_path / "out", "--json", "--quiet")
    with monkeypatch.context() as patched:
        patched.setattr("bench.sparsity.levels.measure_energy", lost)
        assert main(argv) == 1
    value = strict(capfd.readouterr().out)
    rows = {row["method"]: row for row in value["rows"]}
    bad = rows.pop("sparsegrad-planned 50")
    assert value["status"] == bad["status"] == "oom" and bad["reason"] == "energy kept: MemoryError: no room"
    assert bad["energy"] is None and bad["step_ms"] > 0
    assert all(row["status"] == "ok" for row in rows.values())
    before = files(tmp_path / "out")
    assert main(argv) == 0, "tried again"
    assert {name.split("/")[0] for name in files(tmp_path / "out").keys() - before.keys()} == {"energy", "sparsity"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--methods lora", "--methods lora keeps no entries of a gradient; give any of meprop sparsegrad-regular"),
        (
            "--methods full frozen",
            "--methods full keeps no entries of a gradient; give any of meprop sparsegrad-regular",
        ),
        ("--kept-list 1% 513", "^--kept-list 513: kept=513 .*give 1 to 512"),
        ("--methods sparsegrad-compact --core 2 2 --kept-list 5", "^--kept-list 5 --core 2 2: kept=5"),
        ("--lora-rank 3", "unrecognized arguments: --lora-rank"),
        ("--kept-list many", "--kept-list 'many': give a count such as 22000"),
        ("--kept-list 1% 0", "--kept-list 0: .*give 1 to 512"),
        ("--kept-list 200%", "--kept-list 200%: .*not a share"),
        ("--rounds 0", "--rounds 0 is too small"),
        ("--kept 22k", "unrecognized arguments: --kept"),
        ("--methods sparsegrad-planned --core 8 8", "of a fixed support: add sparsegrad-compact"),
    ],
)
def test_refusals_are_one_line(line: str, message: str, speed_model: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=message) as refused:
        main(words(speed_model, tmp_path / "out", *line.split()))
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.rglob("*.json"))


def test_the_help_offers_what_is_taken_and_tells_the_default() -> None:
    told = " ".join(parser().format_help().split())
    assert "(default: sparsegrad-planned; full and frozen" in told and parser().get_default("methods") == [
        "sparsegrad-planned"
    ]
    assert "meprop: " in told and "lora: " not in told and "--kept)" not in told


def test_a_dry_run_tells_every_cell_and_measures_none(
    speed_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(asked(speed_model, tmp_path / "out", "--dry-run", "--json")) == 0
    plan = strict(capfd.readouterr().out)
    # full and frozen, three levels with energy, one calibration that they share, the rounds, the time.
    assert len(plan) == 2 + 3 * 2 + 1 + 1 + 1 and not list(tmp_path.iterdir())
    assert plan["time"].startswith("about ") and plan["energy kept by sparsegrad-planned dense"] == "to be measured"


def test_what_was_not_measured_is_no_number() -> None:
    assert cells(LOST) == ["x", "5", "n/a", "n/a", "n/a", "n/a", "oom", "", "n/a", "n/a", "n/a"]


def test_a_mean_and_its_range_have_the_same_digits() -> None:
    shares = {"kept_share": 0.01, "rows_touched_share": 0.5, "columns_touched_share": 1.0}
    energy = {**shares, "energy_share": {"mean": 0.9987, "least": 0.9959, "most": 0.9996}}
    assert cells({**LOST, "energy": energy})[3] == "0.999 (0.996 to 1.000)"


def test_a_hostile_name_is_text(told: Any, capfd: pytest.CaptureFixture[str]) -> None:
    _, result = told
    value = result(capfd)
    print_sparsity(Console(width=200), "[red]title[/red] [/oops]", value)
    assert "[red]title[/red] [/oops]" in capfd.readouterr().out
