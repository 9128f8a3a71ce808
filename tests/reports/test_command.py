"""The command as a user meets it: files, exit codes, one line for a wrong request, strict JSON, an idle dry run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.cli import DONE, FAILED
from bench.errors import BadRequest
from bench.store import Store
from reports.__main__ import main, parser
from reports.paper.published import TASKS
from tests.reports.small_records import peak, speed

TIMES = {"full": [10.0, 11.0, 10.4], "lora": [9.0, 9.9, 9.4]}


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two records, in a working directory without the authors' logs."""
    monkeypatch.chdir(tmp_path)
    Store(tmp_path / "results").write(speed(TIMES))
    Store(tmp_path / "results").write(peak("full", 1000))
    return tmp_path / "results"


def test_the_default_reads_results_and_writes_its_files(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == DONE
    told = capsys.readouterr()
    assert "2 records read" in told.err and "17 not tested here" in told.out
    files = {path.name: path.read_text() for path in (results / "report").iterdir()}
    assert set(files) == {"report.html", "report.md", "glance-cost.svg"}
    assert "C20" in files["report.html"] and "C20" in files["report.md"]
    assert main(["--quiet"]) == DONE  # the report's own folder holds no record
    assert capsys.readouterr().err == ""


def test_the_same_records_make_the_same_bytes(results: Path) -> None:
    assert main(["--quiet", "--out", "a"]) == main(["--quiet", "--out", "b"]) == DONE
    for name in ("report.html", "report.md"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


def test_json_is_strict_and_alone_on_stdout(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (results / "speed" / "cut-1.json").write_text("{")
    assert main(["--json"]) == DONE
    told = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))
    assert [claim["id"] for claim in told["ledger"][:20]] == [f"C{number}" for number in range(1, 21)]
    assert [one["path"] for one in told["left_out"]] == ["speed/cut-1.json"]


def test_a_dry_run_writes_nothing(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dry-run", "--json"]) == DONE
    assert json.loads(capsys.readouterr().out)["records"] == 2
    assert not (results / "report").exists()


def test_a_regression_exits_1_and_is_named(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quiet", "--against", "results"]) == DONE
    assert "0 got worse" in capsys.readouterr().out
    Store(Path("after")).write(peak("full", 1100))
    assert main(["--quiet", "--results", "after", "--against", "results", "--out", "page"]) == FAILED
    assert "worse: full, peak, tracked: 1.100x" in capsys.readouterr().out
    assert "1.100x" in Path("page/report.md").read_text()


@pytest.mark.parametrize(
    "argv",
    [["--results", "absent"], ["--results", "."], ["--import", "absent"], ["--authors-runs", "absent"],
     ["--against", "empty"], ["--out", "results/speed/x/../../../file/x"], ["--nonsense"]],
)  # fmt: skip
def test_a_wrong_request_is_one_line_and_writes_no_report(results: Path, argv: list[str]) -> None:
    Path("empty").mkdir()
    Path("file").write_text("")
    if argv[:2] == ["--results", "."]:
        argv = ["--results", "empty"]
    with pytest.raises(BadRequest) as caught:
        main(argv)
    assert "\n" not in str(caught.value)
    assert not (results / "report").exists()


def test_help_has_defaults_and_an_example() -> None:
    text = parser().format_help()
    assert "example: python -m reports" in text
    assert text.count("(default:") >= 5


def test_the_authors_logs_beside_the_records_have_a_ledger_of_their_own(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--quiet"]) == DONE
    assert "authors' logs" not in capsys.readouterr().out
    lines = [f"bert-base-uncased,{task},{method},{seed},accuracy,0.8{seed},1000"
             for task in TASKS for method in ("ft", "lora", "sparse") for seed in (1, 2)]  # fmt: skip
    head = "model,task,method,seed,metric,value,peak_mem_mib"
    (results / "authors_runs.csv").write_text("\n".join([head, *lines, ""]))
    assert main(["--quiet"]) == DONE
    titles = ("The paper's claims, one by one", "The paper against itself, statement by statement",
              "The paper against its authors' logs, pair by pair")  # fmt: skip
    said, told = capsys.readouterr().out, Path("results/report/report.md").read_text()
    for title in titles:
        assert f"{title}: " in said and f"\n### {title}\n" in told.replace("&#39;", "'")
