"""A disk that takes no more: one line and exit 1, nothing half written, and the rerun does what is missing."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.errors import BadRequest
from bench.record import Status
from bench.store import Store
from tests.bench.sample import temporaries
from tests.bench.small_commands import MAINS, begin, end, line

KIB = 2**10
# What one file may hold: too little for any record.
TOO_LITTLE = KIB


def full_at(nbytes: int) -> Callable[[], None]:
    """For a process to begin with: it and its workers may write no file longer than that."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, nbytes))


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize("command", sorted(MAINS))
def test_a_folder_that_takes_no_record_is_refused_before_anything_is_done(
    command: str, dry: list[str], speed_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadRequest, match="cannot write records in"):
        MAINS[command](line(command, speed_model, tmp_path / "file", *dry))


@pytest.mark.slow
@pytest.mark.parametrize("command", MAINS)
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    command: str, speed_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    argv = line(command, speed_model, tmp_path, "--quiet", "--json")
    quiet = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    told = end(begin(command, argv, preexec_fn=full_at(TOO_LITTLE), env=quiet))
    assert told.code == 1 and told.out == ""
    assert told.err.startswith(f"bench.{command}: ") and told.err.count("\n") == 1
    assert "cannot write the " in told.err and "File too large" in told.err
    assert Store(tmp_path).read_all() == ([], []) and temporaries(tmp_path) == []
    assert MAINS[command](argv) == 0
    json.loads(capfd.readouterr().out)
    records, damaged = Store(tmp_path).read_all()
    assert damaged == [] and {record.status for record in records} == {Status.OK}


@pytest.mark.slow
def test_bases_that_do_not_fit_on_the_disk_are_the_failure_of_those_who_need_them(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """V of 512 x 512 in fp32 is a mebibyte; records are some ten kibibytes."""
    model, out = tmp_path / "wide", tmp_path / "out"
    model.mkdir()
    shape = {"model_type": "bert", "vocab_size": 100, "hidden_size": 32, "intermediate_size": 512}
    more = {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 32}
    (model / "config.json").write_text(json.dumps({**shape, **more}), encoding="utf-8")
    argv = line("memory", model, out, "--quiet", "--json")
    told = end(begin("memory", argv, preexec_fn=full_at(256 * KIB)))
    assert told.code == 1 and told.err == ""
    rows = json.loads(told.out)
    assert {name: row["status"] for name, row in rows.items() if name != "sparsegrad-sd"} == dict.fromkeys(
        ("full", "lora", "frozen"), "ok"
    )
    lost = rows["sparsegrad-sd"]
    assert lost["status"] == "error" and lost["reason"].startswith("no bases, calibration: ")
    assert "File too large" in lost["reason"]
    assert temporaries(out) == [] and list(out.glob("bases/*.safetensors")) == []
    assert MAINS["memory"](argv) == 0
    assert json.loads(capfd.readouterr().out)["sparsegrad-sd"]["status"] == "ok"
