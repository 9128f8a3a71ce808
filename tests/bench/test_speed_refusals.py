"""Requests to bench.speed that cannot be met: one line that says what to type, exit 2, nothing written."""

import os
import shlex
from pathlib import Path

import pytest
import torch

from tests.bench.speed_run import asked, ended, files, start, words


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--methods full nope", "sparsegrad-sd"),
        ("--no-such-option 1", "--no-such-option"),
        ("--kept 513", "513"),
        ("--kept lots", "--kept 'lots'"),
        ("--kept 0", "--kept 0"),
        ("--core 17 8", "core=(17, 8) does not fit bert.encoder.layer.0.output.dense"),
        ("--core 0 8", "--kept 0.01 --core 0 8: core=(0, 8)"),
        ("--core 2 2", "core=(2, 2), which has 4"),
        ("--core 8", "--core: expected 2 arguments"),
        ("--core 8 x", "--core: invalid int value: 'x'"),
        ("--fixed-basis none", "--fixed-basis"),
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
    speed_model: Path,
    glue: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = shlex.split(line.format(tmp=tmp_path, glue=glue))
    assert asked(words(speed_model, tmp_path / "out", *more, "--dry-run"), monkeypatch) == 2
    out, err = capfd.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and err.startswith("bench.speed: ")
    assert says in err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_cuda_where_there_is_none(
    speed_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked(words(speed_model, tmp_path / "out", "--device", "cuda"), monkeypatch) == 2
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
    speed_model: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "cola").mkdir()
    (tmp_path / "cola" / "train.tsv").write_text(text, encoding="utf-8")
    argv = words(speed_model, tmp_path / "out", "--task", "cola", "--data-dir", str(tmp_path))
    assert asked(argv, monkeypatch) == 2
    out, err = capfd.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and where in err
    assert not (tmp_path / "out").exists()


def test_an_out_that_cannot_be_written(
    speed_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    assert asked(words(speed_model, tmp_path / "file" / "below"), monkeypatch) == 2
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
