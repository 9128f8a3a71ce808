"""python -m bench.speed from end to end, on a model small enough to wait for: what it prints, keeps and refuses.

Commands run as users run them where the process matters (streams, signals, two at once); else main runs here.
"""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench.cli import run
from bench.record import Status
from bench.speed import PROG, main
from bench.store import Store
from bench.train import LossNotFinite
from sparsegrad.errors import SparseGradError
from sparsegrad.methods import METHODS

ROOT = Path(__file__).resolve().parents[2]
ROUNDS, STEPS, WARMUP = 2, 1, 1
CONFIG = {
    "model_type": "bert",
    "vocab_size": 2000,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
}
LINEARS, KEPT = 4, 5  # 1% of 16 x 32
COLA = "sentence\tlabel\tidx\n" + "".join(
    f"The {'very ' * (i % 4)}small row {i} is {'not ' * (i % 2)}here.\t{i % 2}\t{i}\n" for i in range(12)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models") / "tiny"
    made.mkdir()
    (made / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def glue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("glue")
    (made / "cola").mkdir()
    (made / "cola" / "train.tsv").write_text(COLA, encoding="utf-8")
    return made


def words(folder: Path, out: Path, *more: str, rounds: int = ROUNDS) -> list[str]:
    """A request that takes a moment; ``more`` may say a word again."""
    line = (
        f"--random-weights --batch-size 2 --max-length 16 --steps {STEPS} --warmup {WARMUP} --calibration-steps 2 "
        f"--device cpu --rounds {rounds}"
    )
    return ["--model", str(folder), *line.split(), "--out", str(out), *more]


def start(argv: list[str], **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.speed", *argv]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **options
    )


def files(out: Path) -> dict[str, bytes]:
    """Every file below ``out``, hidden ones too, with its content."""
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def strict(text: str) -> dict[str, Any]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    told: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return told


@dataclass(frozen=True, kw_only=True)
class Ended:
    code: int
    out: str
    err: str


@dataclass(frozen=True, kw_only=True)
class Two:
    """Two processes that were given the same request and folder at the same time: one --json --quiet, one not."""

    out: Path
    json: Ended
    table: Ended


def ended(process: subprocess.Popen[str]) -> Ended:
    out, err = process.communicate(timeout=120)
    return Ended(code=process.returncode, out=out, err=err)


@pytest.fixture(scope="module")
def two(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Two:
    out = tmp_path_factory.mktemp("results") / "two"
    both = [start(words(folder, out, *more)) for more in (("--json", "--quiet"), ())]
    first, second = (ended(process) for process in both)
    return Two(out=out, json=first, table=second)


@pytest.fixture
def measured(two: Two, tmp_path: Path) -> Path:
    """A folder of records of one's own, in which everything is measured."""
    return shutil.copytree(two.out, tmp_path / "measured")


def test_two_at_once_both_finish_and_every_record_is_whole(two: Two) -> None:
    assert (two.json.code, two.table.code) == (0, 0), two.json.err + two.table.err
    records, damaged = Store(two.out).read_all()
    assert not damaged and all(record.status is Status.OK for record in records)
    assert {record.kind for record in records} == {"calibration", "peak", "speed"}
    assert {record.config["method"] for record in records if record.kind == "peak"} == set(METHODS)
    assert not [name for name in files(two.out) if name.endswith(".tmp")]


def test_json_is_the_whole_of_stdout_and_quiet_is_silent(two: Two) -> None:
    assert two.json.err == ""
    told = strict(two.json.out)
    assert told["status"] == "ok" and told["reason"] is None
    assert [row["method"] for row in told["rows"]] == list(METHODS)
    for row in told["rows"]:
        assert row["status"] == "ok" and row["reason"] is None
        assert row["steps_per_s"] > 0
        assert row["ratio_to_full"].keys() == {"mean", "low", "high", "rounds"}
        assert row["ratio_to_full"]["low"] <= row["ratio_to_full"]["mean"] <= row["ratio_to_full"]["high"]
        assert isinstance(row["peak_bytes"], int) and row["peak_bytes"] > 0
        assert row["peak_instrument"] == "tracked"
        assert len(row["samples_ms"]) == len(row["samples_by_phase_ms"]) == ROUNDS
        assert len(row["losses"]) == WARMUP + ROUNDS * STEPS
        coo = METHODS[row["method"]].basis is not None
        kept = {"layers": LINEARS, "least": KEPT, "most": KEPT, "sum": LINEARS * KEPT}
        assert row["kept_entries"] == (kept if coo else None)
        assert (row["calibration_s"] is not None) == (METHODS[row["method"]].basis == "shared")
    assert told["rows"][0]["ratio_to_full"]["mean"] == 1.0
    assert told["calibration"]["calibration_s"] > 0 and told["calibration"]["steps"] == 2
    assert told["calibration"]["peak_bytes"] > 0
    assert len(told["aa"]["samples_ms"]) == ROUNDS
    assert 0 < told["zero_row_share"] < 1


def test_equal_mathematics_shows_in_the_losses(two: Two) -> None:
    """All start at one loss; sd follows regular; full and its second run are one sequence."""
    told = strict(two.json.out)
    rows = {row["method"]: row["losses"] for row in told["rows"]}
    assert all(losses[0] == pytest.approx(rows["full"][0], rel=1e-5) for losses in rows.values())
    pairs = told["same_mathematics"]
    assert [(p["method"], p["over"]) for p in pairs] == [(n, m.same_as) for n, m in METHODS.items() if m.same_as]
    for pair in pairs:
        assert pair["largest_loss_difference"] <= 1e-4 and pair["steps"] == WARMUP + ROUNDS * STEPS


def test_the_table_is_on_stdout_and_names_its_record(two: Two) -> None:
    lines = two.table.out.splitlines()
    assert lines[0].startswith("tiny (random weights), synthetic lengths lognormal:10.7:0.33, batch 2 x 16")
    assert [line.split()[0].lstrip("│") for line in lines if line.startswith("│")] == list(METHODS)
    assert lines[-1].startswith(f"record: {two.out}/speed/") and lines[-1].endswith(".json")
    assert list(two.out.glob(lines[-1].removeprefix(f"record: {two.out}/")))
    assert "Traceback" not in two.table.err and "Warning" not in two.table.err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_without_cuda_nothing_claims_a_cuda_figure(two: Two) -> None:
    def walk(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(key, item)
        elif isinstance(value, list):
            for item in value:
                walk(name, item)
        elif isinstance(value, str):
            assert "cuda" not in value.lower() or name == "command", (name, value)
        elif any(word in name.lower() for word in ("cuda", "gpu", "reserved", "requested", "allocated")):
            assert value is None, (name, value)

    told = strict(two.json.out)
    environment = told.pop("environment")
    assert environment["gpu"] is None
    walk("", told)
    for line in two.table.out.splitlines():
        assert "CUDA" not in line.upper() or "not CUDA memory" in line
        assert "allocated" not in line and "reserved" not in line


def test_a_rerun_measures_nothing_and_says_so(
    two: Two, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another process than the first: the key has to be the same in all."""
    monkeypatch.setattr("bench.cells.run_fresh", None)
    monkeypatch.setattr("bench.speed.interleave", None)
    before = files(two.out)
    assert main(words(folder, two.out, "--json")) == 0
    out, err = capfd.readouterr()
    assert "measured already" in err and "--fresh" in err and len(err.splitlines()) == 1
    assert strict(out)["rows"] == Store(two.out).find("speed", strict(out)["key"]).result["rows"]  # type: ignore[union-attr]
    assert main(words(folder, two.out)) == 0
    again = capfd.readouterr()
    assert again.out.splitlines()[0].startswith("tiny (random weights)") and again.err == err
    assert main(words(folder, two.out, "--json", "--quiet")) == 0
    assert capfd.readouterr() == (out, "")
    assert files(two.out) == before


def test_fresh_adds_and_replaces_nothing(measured: Path, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = files(measured)
    assert main(words(folder, measured, "--fresh", "--json", "--quiet", "--methods", "lora")) == 0
    after = files(measured)
    assert all(after[name] == content for name, content in before.items() if name.endswith(".json"))
    kinds = sorted(name.split("/")[0] for name in after.keys() - before.keys())
    assert kinds == ["peak"] * 3 + ["speed"], "lora, and the two rows of every table"
    out, err = capfd.readouterr()
    assert [row["method"] for row in strict(out)["rows"]] == ["full", "lora", "frozen"] and err == ""
    assert strict(out)["calibration"] is None, "nobody asked for bases"


def test_a_dry_run_measures_nothing(
    two: Two, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.cells.run_fresh", None)
    monkeypatch.setattr("bench.speed.measure", None)
    assert main(words(folder, tmp_path / "new", "--dry-run")) == 0
    planned = capfd.readouterr().out.splitlines()
    assert len(planned) == 1 + len(METHODS) + 1
    assert all(line.endswith("to be measured") for line in planned)
    assert files(tmp_path / "new") == {}
    before = files(two.out)
    assert main(words(folder, two.out, "--dry-run")) == 0
    assert all("measured already" in line for line in capfd.readouterr().out.splitlines())
    assert main(words(folder, two.out, "--dry-run", rounds=ROUNDS + 1)) == 0
    states = ["measured already" in line for line in capfd.readouterr().out.splitlines()]
    assert states == [True] * (1 + len(METHODS)) + [False], "of another number of rounds only the speed is left to do"
    assert files(two.out) == before


# A run that ends before its end.


def wait_for_peaks(process: subprocess.Popen[str], out: Path, count: int) -> None:
    until = time.monotonic() + 90
    while len(list(out.glob("peak/*.json"))) < count:
        assert process.poll() is None and time.monotonic() < until, "the run ended before it could be ended"
        time.sleep(0.01)


@pytest.fixture
def cleared() -> Iterator[Callable[[subprocess.Popen[str]], subprocess.Popen[str]]]:
    """Processes that do not outlive the test."""
    held: list[subprocess.Popen[str]] = []

    def hold(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
        held.append(process)
        return process

    yield hold
    for process in held:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_killed_run_leaves_no_half_record_and_the_next_goes_on(
    folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    cleared: Callable[[subprocess.Popen[str]], subprocess.Popen[str]],
) -> None:
    out = tmp_path / "out"
    process = cleared(start(words(folder, out)))
    wait_for_peaks(process, out, 2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = {name: content for name, content in files(out).items() if name.endswith(".json")}
    records, damaged = Store(out).read_all()
    assert not damaged and 3 <= len(records) == len(before) < 8
    assert main(words(folder, out, "--json", "--quiet")) == 0
    told = strict(capfd.readouterr().out)
    assert all(row["status"] == "ok" for row in told["rows"])
    after = files(out)
    assert all(after[name] == content for name, content in before.items())
    records, damaged = Store(out).read_all()
    assert not damaged
    assert len(records) == 1 + len(METHODS) + 1, "each cell once: what was done before the kill was not done again"


def test_an_interrupt_in_the_rounds_leaves_an_interrupted_record(
    folder: Path, measured: Path, cleared: Callable[[subprocess.Popen[str]], subprocess.Popen[str]]
) -> None:
    """Ctrl-C, as a terminal sends it: to every process of the group."""
    process = cleared(start(words(folder, measured, "--fresh", "--methods", "full", rounds=100_000)))
    wait_for_peaks(process, measured, len(list(measured.glob("peak/*.json"))) + 2)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    done = ended(process)
    assert done.code == 130 and done.out == ""
    assert done.err == "bench.speed: interrupted; the same command goes on where it stopped\n"
    records, damaged = Store(measured).read_all("speed")
    (stopped,) = [record for record in records if record.status is not Status.OK]
    assert stopped.status is Status.INTERRUPTED and stopped.reason and not damaged


def test_an_interrupt_in_the_peaks_is_one_line_and_recorded(
    folder: Path, tmp_path: Path, cleared: Callable[[subprocess.Popen[str]], subprocess.Popen[str]]
) -> None:
    out = tmp_path / "out"
    process = cleared(start(words(folder, out)))
    wait_for_peaks(process, out, 1)
    os.killpg(process.pid, signal.SIGINT)
    done = ended(process)
    assert done.code == 130 and done.out == ""
    assert done.err == "bench.speed: interrupted; the same command goes on where it stopped\n"
    records, damaged = Store(out).read_all()
    assert not damaged
    assert [record.kind for record in records if record.status is Status.INTERRUPTED] == ["speed"]


# Requests that cannot be met.


def asked(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of the command, run as __main__ runs it."""
    monkeypatch.setattr(sys, "argv", ["speed.py", *argv])
    with pytest.raises(SystemExit) as end:
        run(main, PROG)
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--methods full nope", "sparsegrad-sd"),
        ("--no-such-option 1", "--no-such-option"),
        ("--kept 513", "513"),
        ("--kept lots", "--kept 'lots'"),
        ("--kept 0", "--kept 0"),
        ("--model /no/such/folder", "/no/such/folder"),
        ("--model ./no-such-folder", "no-such-folder"),
        ("--task nope", "cola, sst2"),
        ("--task cola --data-dir {tmp}/nowhere", "cola/train.tsv"),
        ("--task sst2 --data-dir {glue}", "sst2/train.tsv"),
        ("--task cola --data-dir {glue} --lengths fixed:8", "--lengths"),
        ("--data-dir {glue}", "--task"),
        ("--task cola --data-dir {glue} --limit 0", "--limit 0"),
        ("--task cola --data-dir {glue} --batch-size 13", "--batch-size 12"),
        ("--device nonsense", "--device"),
        ("--batch-size 0", "--batch-size 0"),
        ("--rounds 0", "--rounds 0"),
        ("--steps 0", "--steps 0"),
        ("--warmup 0", "--warmup 0"),
        ("--max-length 33", "32 or less"),
        ("--lr 0", "--lr"),
        ("--dtype fp8", "bf16"),
        ("--lengths nonsense", "lognormal:MEDIAN:SIGMA"),
        ("--lengths fixed:17", "--max-length"),
        ("--lora-rank 0", "--lora-rank"),
        ("--seed text", "--seed"),
        ("--seed 99999999999999999999", "--seed"),
        ("--dropout 2", "--dropout 2"),
        ("--calibration-steps 0", "--calibration-steps 0"),
        ("--tokenizer nowhere/at/all --task cola --data-dir {glue}", "--tokenizer"),
    ],
)
def test_a_bad_request_is_one_line_and_two(
    line: str,
    says: str,
    folder: Path,
    glue: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = shlex.split(line.format(tmp=tmp_path, glue=glue))
    assert asked(words(folder, tmp_path / "out", *more, "--dry-run"), monkeypatch) == 2
    out, err = capfd.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and err.startswith("bench.speed: ")
    assert says in err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_cuda_where_there_is_none(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked(words(folder, tmp_path / "out", "--device", "cuda"), monkeypatch) == 2
    assert "0 CUDA devices" in capfd.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("sentence\tlabel\tidx\nfine\t0\t0\ntwo\tfields\n", "train.tsv:3: "),
        ("sentence\tlabel\tidx\nfine\tmaybe\t0\n", "train.tsv:2: "),
        ("sentence\tidx\nfine\t0\n", "train.tsv:1: "),
    ],
)
def test_a_corrupt_file_is_named_with_its_line(
    text: str,
    where: str,
    folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "cola").mkdir()
    (tmp_path / "cola" / "train.tsv").write_text(text, encoding="utf-8")
    argv = words(folder, tmp_path / "out", "--task", "cola", "--data-dir", str(tmp_path))
    assert asked(argv, monkeypatch) == 2
    out, err = capfd.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and where in err
    assert not (tmp_path / "out").exists()


def test_an_out_that_cannot_be_written(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    assert asked(words(folder, tmp_path / "file" / "below"), monkeypatch) == 2
    out, err = capfd.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and "--out" in err and str(tmp_path / "file" / "below") in err
    assert files(tmp_path) == {"file": b"mine"}


def test_a_hub_that_is_not_there(tmp_path: Path) -> None:
    """As a process: the hub's client reads its environment when it is imported, and talks to stderr when it may."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    models = ("bert-base", "no-such-house/no-such-model")
    both = [start(["--model", model, "--out", str(tmp_path / "out"), "--device", "cpu"], env=env) for model in models]
    for model, process in zip(models, both, strict=True):
        done = ended(process)
        assert done.code == 2 and done.out == ""
        assert len(done.err.splitlines()) == 1 and model in done.err and "not reachable" in done.err
        assert "--random-weights" in done.err, "the next thing to type"
    assert not (tmp_path / "out").exists()


# One method fails.


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
    folder: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Peaks are known already: the failure is the race's, in this process."""
    argv = words(folder, measured, "--json", "--quiet", "--methods", "meprop", "lora", rounds=3)
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


def test_when_full_goes_astray_the_others_still_have_a_speed(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A rate at which training cannot last: frozen, which does not train, is measured all the same."""
    argv = words(folder, tmp_path / "out", "--json", "--quiet", "--methods", "full", "--lr", "1e35")
    assert main(argv) == 1
    full, frozen = strict(capfd.readouterr().out)["rows"]
    assert full["status"] == "error" and full["reason"].startswith("LossNotFinite")
    assert full["steps_per_s"] is None and full["peak_bytes"] is None
    assert frozen["status"] == "ok" and frozen["peak_bytes"] > 0 and frozen["ratio_to_full"] is None
    assert frozen["steps_per_s"] is not None and frozen["steps_per_s"] > 0


# Other models, texts and arithmetic.


@pytest.mark.parametrize(
    "line",
    [
        "--dtype bf16 --trainable all --task cola --data-dir {glue}",
        "--padding longest --task cola --data-dir {glue} --limit 8 --methods sparsegrad-sd meprop --kept 7",
    ],
)
def test_other_words_work_from_end_to_end(
    line: str, folder: Path, glue: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    more = line.format(glue=glue).split()
    assert main(words(folder, tmp_path / "out", "--json", "--quiet", *more)) == 0
    out, err = capfd.readouterr()
    told = strict(out)
    assert err == "" and all(row["status"] == "ok" for row in told["rows"])
    assert told["config"]["task"] == "cola"
    rows = {row["method"]: row for row in told["rows"]}
    if told["config"]["trainable"] == "all":
        assert rows["full"]["trainable_parameters"] > 2000 * 16, "the embeddings too"
        assert all(row["losses"][0] == pytest.approx(rows["full"]["losses"][0], rel=0.02) for row in told["rows"])
    if told["config"]["kept"] == 7:
        assert rows["meprop"]["kept_entries"]["most"] == rows["sparsegrad-sd"]["kept_entries"]["least"] == 7


def test_dropout_does_not_part_equal_mathematics(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """sd over regular compares losses: with dropout it can only if both draw the same masks."""
    more = ("--json", "--quiet", "--methods", "sparsegrad-sd", "sparsegrad-regular", "--dropout", "0.3")
    assert main(words(folder, tmp_path / "out", *more)) == 0
    told = strict(capfd.readouterr().out)
    assert all(pair["largest_loss_difference"] <= 1e-4 for pair in told["same_mathematics"])


def test_an_out_with_brackets_is_printed_as_it_is(
    two: Two, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(two.out, tmp_path / "[red]runs")
    assert main(words(folder, out)) == 0
    assert f"record: {out}/speed/" in capfd.readouterr().out
