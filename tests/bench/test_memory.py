"""The command: cells run once, tables and JSON tell the same, failures and leaks are rows, wrong words one line."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.errors import BadRequest
from bench.memory.__main__ import main
from bench.memory.table import print_memory
from bench.record import Record, Status

METHODS = ("full", "lora", "frozen")


def words(folder: Path, out: Path, *more: str) -> list[str]:
    shape = ["--model", str(folder), "--random-weights", "--batch-size", "2", "--max-length", "16", "--device", "cpu"]
    short = [] if "--predict" in more else ["--calibration-steps", "1"]
    return [*shape, "--methods", "lora", *short, "--out", str(out), *more]


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of records in which three methods are measured."""
    out = tmp_path_factory.mktemp("memory")
    assert main(words(folder, out, "--quiet", "--json")) == 0
    return out


def test_json_and_table_tell_what_the_records_hold(run: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = {r["config"]["method"]: r for r in map(json.loads, (p.read_text() for p in run.glob("peak/*.json")))}
    assert set(records) == set(METHODS)
    assert main(words(folder, run, "--json")) == 0
    streams = capsys.readouterr()
    assert "measured already" in streams.err
    told = json.loads(streams.out)
    for name, record in records.items():
        assert told[name] == {"key": record["key"], "status": "ok", "reason": None, **record["result"]}
        read = record["result"]
        assert read["peak_phase"] in read["by_phase_bytes"] and read["peak_step"] == 2
        assert sum(read["at_peak"]["by_category_bytes"].values()) == read["peak_bytes"]
        assert read["instrument"] == read["attribution_instrument"] == "tracked"
        assert len(read["live_after_step_bytes"]) == read["steps"] == 4
    assert main(words(folder, run, "--quiet")) == 0
    table = capsys.readouterr().out
    for expected in (*METHODS, "saved for backward", "bert.encoder.layer.*.output.dense", "tracked peak"):
        assert expected in table
    assert len(list(run.glob("peak/*.json"))) == 3, "nothing was measured twice"


def test_a_rerun_makes_no_bases_that_nothing_needs(folder: Path, tmp_path: Path) -> None:
    """Records may travel without the bases, which are large."""
    line = [*words(folder, tmp_path, "--quiet"), "--methods", "sparsegrad-sd"]
    assert main(line) == 0
    (bases,) = tmp_path.glob("bases/*.safetensors")
    bases.unlink()
    assert main(line) == 0 and not bases.exists()


def test_layers_are_shown_as_many_as_asked(run: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(words(folder, run, "--quiet", "--layers", "0"))
    assert "bert.encoder" not in capsys.readouterr().out
    main(words(folder, run, "--quiet", "--layers", "1"))
    one = capsys.readouterr().out
    main(words(folder, run, "--quiet", "--layers", "100"))
    assert one.count("bert.encoder") < capsys.readouterr().out.count("bert.encoder")


def test_a_dry_run_measures_nothing_and_says_how_long(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(folder, tmp_path / "none", "--dry-run", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told) == [*METHODS, "time"] and told["time"].startswith("about ")
    assert {told[name] for name in METHODS} == {"to be measured"}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--layers", "-1"], "--layers -1"),
        (["--snapshot", "shots"], "--snapshot shots is the CUDA allocator's history, and this would run on cpu"),
        (["--predict", "--snapshot", "shots"], "--snapshot shots has no use with --predict"),
        (["--predict", "--device", "cuda"], "--device cuda has no use with --predict"),
        (["--predict", "--calibration-steps", "5"], "--calibration-steps 5 has no use with --predict"),
        (["--methods", "full", "--lora-rank", "3"], "--lora-rank 3 is of LoRA and its kin: add lora to --methods"),
        (["--core", "8", "8"], "of a fixed support: add sparsegrad-compact to --methods"),
        (["--methods", "lora", "--fixed-basis", "shared"], "of a fixed support: add sparsegrad-compact"),
    ],
)
def test_a_wrong_word_is_told_before_anything_is_done(
    more: list[str], message: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadRequest, match=message):
        main(words(folder, tmp_path / "none", *more))
    assert not (tmp_path / "none").exists()


def record(name: str, status: Status = Status.OK, **result: Any) -> Record:
    told: dict[str, Any] = {"config": {"method": name}, "fingerprints": {}, "environment": {}, "command": "x"}
    now = "2026-01-01T00:00:00+00:00"
    reason = None if status is Status.OK else "no room"
    ran: dict[str, Any] = {"seed": 0, "started": now, "ended": now, "reason": reason, "status": status}
    return Record(kind="peak", key="k", result=result, **told, **ran)


def read(**more: Any) -> dict[str, Any]:
    mib = 2**20
    categories = dict.fromkeys(
        ("weights", "bases", "optimizer_state", "gradients", "batch", "saved_for_backward", "temporaries"), mib
    )
    told = {
        "instrument": "cuda max_memory_allocated",
        "peak_bytes": 100 * mib,
        "by_phase_bytes": {"forward": mib, "backward": 100 * mib, "optimizer": mib},
        "peak_phase": "backward",
        "peak_step": 2,
        "requested_bytes": 98 * mib,
        "reserved_bytes": 120 * mib,
        "by_phase_device_used_bytes": {"forward": 500 * mib, "backward": 700 * mib},
        "trainable_parameters": 1,
        "updated_parameters": 1,
        "adapter_bytes": 0,
        "leak_bytes_per_step": 0.0,
        "saved_for_backward_bytes": mib,
        "attribution_instrument": "tracked",
        "at_peak": {
            "by_category_bytes": categories,
            "by_layer": [{"layer": "[red]layer[/red]", "bytes": mib}],
            "by_role": [{"role": "role", "bytes": mib}],
        },
    }
    return told | more


def printed(**records: Record) -> str:
    console = Console(width=200)
    with console.capture() as caught:
        print_memory(console, "title", records, layers=2)
    return caught.get()


def test_the_allocators_figures_are_shown_where_it_gave_them() -> None:
    table = printed(full=record("full", **read()))
    for expected in ("requested", "98 MiB", "reserved", "120 MiB", "device used", "700 MiB", "mem_get_info"):
        assert expected in table
    assert "[red]layer[/red]" in table, "a model's names are text, not markup"
    bare = read(requested_bytes=None, reserved_bytes=None, by_phase_device_used_bytes=None, instrument="tracked")
    without = printed(full=record("full", **bare))
    assert "reserved" not in without and "device used" not in without


def test_failures_leaks_and_what_is_not_known_are_said() -> None:
    table = printed(
        full=record("full", Status.OOM),
        lora=record("lora", **read(leak_bytes_per_step=2.5 * 2**20)),
        frozen=record("frozen", **read(leak_bytes_per_step=None)),
    )
    assert "full: oom: no room" in table
    assert "lora: 2.5 MiB more alive after each step: a leak." in table
    assert "frozen: " not in table
    assert "n/a" in table, "no ratio to a baseline that failed, no leak from two steps"
