"""The nine GLUE tasks, read from TSV files or from the hub into the same examples.

A file is `<data_dir>/<task>/<split>.tsv`: UTF-8, a header line, tab separated, no quoting, columns in any
order. Only a line feed ends a row: a lone quote, U+2028 or a vertical tab is part of the text it stands in.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.errors import BadRequest
from bench.hub import cache_only, first_line, quiet, reachable

__all__ = ["TASKS", "Example", "Task", "read_task", "text_fingerprint"]

_SPLITS = ("train", "validation")
# No longer than fits in 64 bits: of numbers as long as a file, Python reads none, and nobody means one.
_WHOLE = re.compile(r"\d{1,18}", re.ASCII)
_DECIMAL = re.compile(r"\d+(\.\d*)?", re.ASCII)
_HIGHEST_SCORE = 5.0  # STS-B: 0 (unrelated) to 5 (the same meaning)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One GLUE task as the Hugging Face dataset `glue` lays it out, its unlabelled test splits left out."""

    name: str
    columns: tuple[str, ...]
    """One or two text columns, in the order in which a tokenizer joins them."""
    labels: int
    """Number of classes; 1 means a score from 0 to 5."""
    splits: tuple[str, ...] = _SPLITS

    @property
    def regression(self) -> bool:
        """Whether the label is a score, not a class."""
        return self.labels == 1

    @property
    def header(self) -> tuple[str, ...]:
        """The columns that a TSV file of this task has."""
        return (*self.columns, "label", "idx")


@dataclass(frozen=True, kw_only=True)
class Example:
    """One row: its text or pair of texts, its class (int) or score (float), its index in the split."""

    texts: tuple[str, ...]
    label: int | float
    idx: int


_PAIR = ("sentence1", "sentence2")
_MNLI_SPLITS = ("train", "validation_matched", "validation_mismatched")
TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.name: task
        for task in (
            Task(name="cola", columns=("sentence",), labels=2),
            Task(name="sst2", columns=("sentence",), labels=2),
            Task(name="mrpc", columns=_PAIR, labels=2),
            Task(name="stsb", columns=_PAIR, labels=1),
            Task(name="qqp", columns=("question1", "question2"), labels=2),
            Task(name="mnli", columns=("premise", "hypothesis"), labels=3, splits=_MNLI_SPLITS),
            Task(name="qnli", columns=("question", "sentence"), labels=2),
            Task(name="rte", columns=_PAIR, labels=2),
            Task(name="wnli", columns=_PAIR, labels=2),
        )
    }
)


def read_task(
    name: str,
    *,
    data_dir: Path | None,
    split: str = "train",
    limit: int | None = None,
) -> list[Example]:
    """The first `limit` examples (None: all) of a split, from `data_dir` or, if that is None, from the hub.

    Raises BadRequest for an unknown task or split, a limit below 1, a hub that cannot be reached, and a file
    that is missing or malformed (with its line).
    """
    if name not in TASKS:
        raise BadRequest(f"unknown task {name!r}; --task takes one of {', '.join(TASKS)}")
    task = TASKS[name]
    if split not in task.splits:
        raise BadRequest(f"{name} has no labelled split {split!r}; it has {', '.join(task.splits)}")
    if limit is not None and limit < 1:
        raise BadRequest(f"--limit {limit} leaves no example; give 1 or more, or leave it out for all")
    if data_dir is None:
        return _read_hub(task, split, limit)
    return _read_tsv(task, Path(data_dir), split, limit)


def text_fingerprint(examples: Sequence[Example]) -> str:
    """16 hex digits of sha256 over texts, labels and indices, in order."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(json.dumps([example.texts, example.label, example.idx]).encode() + b"\n")
    return digest.hexdigest()[:16]


def _read_tsv(task: Task, data_dir: Path, split: str, limit: int | None) -> list[Example]:
    path = data_dir / task.name / f"{split}.tsv"
    if not path.is_file():
        raise BadRequest(_missing(task, data_dir, split))
    header, *rows = _lines(path)
    columns = header.split("\t")
    if sorted(columns) != sorted(task.header):
        raise BadRequest(
            f"{path}:1: the columns are {', '.join(map(repr, columns))}; "
            f"{task.name} needs {', '.join(task.header)}, separated by tabs, in any order"
        )
    if not rows:
        raise BadRequest(f"{path}:2: no examples below the header; put one on each line")
    return [
        _example(task, dict(_fields(columns, row, f"{path}:{number}")), f"{path}:{number}")
        for number, row in enumerate(rows[:limit], start=2)
    ]


def _lines(path: Path) -> list[str]:
    """The file's lines, header first. A BOM and, where the header ends in CR, one CR a line are dropped."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadRequest(f"{path}: cannot be read ({error.strerror}); give another --data-dir") from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        message = f"{path}:{line}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8 and retry"
        raise BadRequest(message) from error
    lines = text.removeprefix("\ufeff").removesuffix("\n").split("\n")
    return [line.removesuffix("\r") for line in lines] if lines[0].endswith("\r") else lines


def _fields(columns: Sequence[str], row: str, where: str) -> Iterator[tuple[str, str]]:
    values = row.split("\t")
    if len(values) != len(columns):
        raise BadRequest(
            f"{where}: {len(values)} tab-separated fields, "
            f"the header has {len(columns)} ({', '.join(columns)}); no text may hold a tab"
        )
    return zip(columns, values, strict=True)


def _example(task: Task, row: Mapping[str, Any], where: str) -> Example:
    texts = tuple(row[column] for column in task.columns)
    label, idx = str(row["label"]), str(row["idx"])
    if not _WHOLE.fullmatch(idx):
        raise BadRequest(f"{where}: idx is {idx!r:.40}; it needs a whole number, 0 to 18 digits long")
    if task.regression:
        if not _DECIMAL.fullmatch(label) or float(label) > _HIGHEST_SCORE:
            raise BadRequest(f"{where}: label is {label!r:.40}; {task.name} needs a number from 0 to 5")
        return Example(texts=texts, label=float(label), idx=int(idx))
    if not _WHOLE.fullmatch(label) or int(label) >= task.labels:
        highest = task.labels - 1
        raise BadRequest(f"{where}: label is {label!r:.40}; {task.name} needs a whole number from 0 to {highest}")
    return Example(texts=texts, label=int(label), idx=int(idx))


def _missing(task: Task, data_dir: Path, split: str) -> str:
    path = data_dir / task.name / f"{split}.tsv"
    if not data_dir.is_dir():
        return f"--data-dir {data_dir} is no folder; it should hold {task.name}/{split}.tsv"
    there = [name for name in TASKS if (data_dir / name / f"{split}.tsv").is_file()]
    has = f"--task {' or '.join(there)}" if there else "no task at all (its layout is DIR/TASK/SPLIT.tsv)"
    return f"no file {path}; for the split {split} --data-dir {data_dir} has {has}"


def _read_hub(task: Task, split: str, limit: int | None) -> list[Example]:
    remedy = f"pass --data-dir DIR with DIR/{task.name}/{split}.tsv (columns {', '.join(task.header)})"
    try:
        import datasets
    except ImportError as error:
        raise BadRequest(
            f"--task {task.name} from the hub needs datasets: pip install -e '.[eval]', or {remedy}"
        ) from error
    online = reachable()
    try:
        with quiet():
            if online:
                table = datasets.load_dataset("glue", task.name, split=split)
            else:
                with cache_only():
                    table = datasets.load_dataset("glue", task.name, split=split)
            rows = table[: len(table) if limit is None else limit]
    except Exception as error:
        # The library's failures share no base; each one means that this split could not be had.
        why = first_line(error) if online else "the hub is not reachable and it is not cached"
        raise BadRequest(f"cannot load --task {task.name}: {why}; {remedy}") from error
    columns = [rows[column] for column in task.header]
    where = f"glue/{task.name}/{split}, row"
    return [
        _example(task, dict(zip(task.header, values, strict=True)), f"{where} {number}")
        for number, values in enumerate(zip(*columns, strict=True))
    ]
