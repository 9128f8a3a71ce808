"""Memory that really runs out, in the process that asked for it: a row that says so, and the others go on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import bench.capacity.__main__
import bench.capacity.cells
from bench.record import Status
from bench.speed import main
from bench.store import Store
from tests.bench import casualties
from tests.bench.small_commands import MAINS, begin, end, line
from tests.bench.speed_run import ended, files, start, strict, words

# A LoRA of this rank has factors of 640 TB: more than a process can map, on whatever machine.
HUGE = ("--lora-rank", "10000000000000")
LITTLE_MEMORY = pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="what is mapped is read from /proc")


@pytest.mark.slow
def test_bench_speed_out_of_memory_in_a_peak_and_in_the_rounds(
    speed_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The allocator refuses LoRA twice: in the fresh process of its peak, and beside the others."""
    argv = words(speed_model, tmp_path, "--methods", "lora", "meprop", *HUGE)
    told = ended(start([*argv, "--json", "--quiet"]))
    assert told.code == 1 and told.err == ""
    rows = {row["method"]: row for row in strict(told.out)["rows"]}
    assert rows["lora"]["status"] == "oom" and "can't allocate memory" in rows["lora"]["reason"]
    assert rows["lora"]["steps_per_s"] is rows["lora"]["peak_bytes"] is None
    for name in ("full", "meprop", "frozen"):
        assert rows[name]["status"] == "ok" and rows[name]["steps_per_s"] > 0 and rows[name]["peak_bytes"] > 0
    (peak,) = [record for record in Store(tmp_path).read_all("peak")[0] if record.status is not Status.OK]
    assert peak.status is Status.OOM and peak.config["method"] == "lora" and "tried to allocate" in str(peak.reason)
    before = files(tmp_path)
    assert main([*argv, "--quiet"]) == 1
    table = capfd.readouterr().out
    row = next(row for row in table.splitlines() if row.startswith("│lora"))
    assert row.split("│")[2].strip() == "oom" and "lora: oom: RuntimeError: " in table
    tried = sorted(name.split("/")[0] for name in files(tmp_path).keys() - before.keys() if name.endswith(".json"))
    assert tried == ["peak", "speed"], "the one that failed is tried again, and no other"


@pytest.mark.slow
def test_bench_memory_out_of_memory(speed_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    argv = line("memory", speed_model, tmp_path, "--quiet", *HUGE)
    told = end(begin("memory", [*argv, "--json"]))
    assert told.code == 1 and told.err == ""
    rows = strict(told.out)
    assert {name: row["status"] for name, row in rows.items()} == {
        "full": "ok",
        "lora": "oom",
        "sparsegrad-sd": "ok",
        "frozen": "ok",
    }
    assert "can't allocate memory" in rows["lora"]["reason"] and "peak_bytes" not in rows["lora"]
    assert MAINS["memory"](argv) == 1
    assert "lora: oom: RuntimeError: " in capfd.readouterr().out


@pytest.mark.slow
@LITTLE_MEMORY
def test_bench_capacity_takes_it_for_an_answer(
    speed_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured as on a GPU of 64 MiB: each size in a fresh process, which is refused what goes beyond."""
    monkeypatch.setattr(bench.capacity.cells, "measured_bytes", casualties.measured_in_little_memory)
    monkeypatch.setattr(bench.capacity.__main__, "_predicts", lambda args, request: False)
    monkeypatch.setattr(bench.capacity.__main__, "_gpu_bytes", lambda request: 256 * casualties.MIB)
    argv = ["--model", str(speed_model), "--random-weights", "--device", "cpu", "--methods", "full", "--drift", "note"]
    argv += ["--max-length", "16", "--out", str(tmp_path), "--quiet"]
    assert MAINS["capacity"]([*argv, "--json"]) == 0, "data, no failure"
    for row in json.loads(capfd.readouterr().out).values():
        assert row["status"] == "ok" and row["limited_by"] == "budget" and row["steps_per_s"] > 0
        tried = {probe["size"]: probe for probe in row["probes"]}
        assert 1 < row["size"] < 65_536 and tried[row["size"]]["fits"]
        assert not tried[row["size"] + 1]["fits"] and tried[row["size"] + 1]["peak_bytes"] is None
    lost = [record for record in Store(tmp_path).read_all("capacity_probe")[0] if record.status is not Status.OK]
    assert lost and {record.status for record in lost} == {Status.OOM}
    assert all("memory" in str(record.reason) or "alloc" in str(record.reason) for record in lost)
    before = files(tmp_path)
    assert MAINS["capacity"](argv) == 0 and files(tmp_path) == before


@pytest.mark.slow
@LITTLE_MEMORY
def test_steps_that_run_out_of_memory_at_the_predicted_size(
    speed_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size stands, predicted; its steps are a row that says why it has no speed."""
    monkeypatch.setattr(bench.capacity.cells, "timed", casualties.lora_is_timed_in_little_memory)
    assert MAINS["capacity"](line("capacity", speed_model, tmp_path, "--quiet", "--budget", "96MiB")) == 1
    printed = capfd.readouterr().out
    assert "lora: oom: its steps were not timed: " in printed
    records = {record.config["method"]: record for record in Store(tmp_path).read_all("capacity")[0]}
    assert {name: str(record.status) for name, record in records.items()} == {
        "full": "ok",
        "lora": "oom",
        "frozen": "ok",
    }
    lost = records["lora"].result
    assert lost["size"] > 1 and lost["steps_per_s"] is None and lost["samples_ms"] == []
    assert lost["not_timed"].startswith("oom: ")
