"""The grid in a file is the grid on the command line; what a file may not hold is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import BadRequest
from eval.glue import parser as glue_parser
from eval.grid.words import glue_command, parse
from eval.words import study_of

FILE = """
model = ["bert-base", "minilm-l6"]
random-weights = true
task = ["cola", "rte"]
methods = ["full", "lora"]
kept = [0.01, 22000]
seeds = 2
lr = 1e-4
core = [64, 32]
trainable = "all"
"""
LINE = [
    *("--model", "bert-base", "minilm-l6", "--random-weights", "--task", "cola", "rte", "--methods", "full", "lora"),
    *("--kept", "0.01", "22000", "--seeds", "2", "--lr", "1e-4", "--core", "64", "32", "--trainable", "all"),
]


def told(argv: list[str]) -> dict[str, object]:
    return {name: value for name, value in vars(parse(argv)).items() if name != "file"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "grid.toml"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_a_file_says_what_a_command_line_says(file: Path) -> None:
    assert told(["--file", str(file)]) == told(LINE)


def test_the_command_line_goes_before_the_file(file: Path) -> None:
    asked = parse(["--seeds", "5", "--file", str(file), "--model", "roberta-base"])
    assert (asked.seeds, asked.model, asked.task) == (5, ["roberta-base"], ["cola", "rte"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('taks = "cola"', "unknown key 'taks'; give any of .*task"),
        ("dry_run = true", "unknown key 'dry_run'"),
        ('file = "other.toml"', "unknown key 'file'"),
        ('random_weights = "yes"', "random_weights = 'yes': give true or false"),
        ("seeds = true", "seeds = True: give a string or a number"),
        ("[model]\nname = 1", "model = .*: give a string or a number"),
        ("methods = []", "methods = .*: give a string or a number"),
        ("seeds = ", "Invalid value"),
        ("seeds = " + "[" * 20_000, "recursion"),
    ],
)
def test_what_a_file_may_not_hold_is_one_line_with_its_name(file: Path, text: str, said: str) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadRequest, match=said) as refused:
        parse(["--file", str(file)])
    assert str(file) in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"absent\.toml: No such file"):
        parse(["--file", str(tmp_path / "absent.toml")])
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadRequest, match=r"bytes\.toml"):
        parse(["--file", str(tmp_path / "bytes.toml")])


def test_the_command_that_compares_asks_for_the_same_runs(file: Path) -> None:
    """eval.glue's own parser takes it, and makes the study that the grid made."""
    asked = parse(["--file", str(file), "--methods", "full", "sparsegrad-compact", "--ray", "local", "--workers", "2"])
    line = glue_command(asked, "minilm-l6", "22000").split()
    assert line[:3] == ["python", "-m", "eval.glue"]
    compared = study_of(glue_parser().parse_args(line[3:]))
    assert (compared.model, compared.kept, compared.tasks) == ("minilm-l6", 22000, ("cola", "rte"))
    assert (compared.seeds, compared.lr, compared.core, compared.trainable) == (2, (1e-4,), (64, 32), "all")
