"""GLUE readers: the real files whole, and files that nobody should have written."""

import logging
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bench.tasks
from bench.errors import BadRequest
from bench.tasks import TASKS, Example, read_task, text_fingerprint

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write bytes as a task's file; gives back the data folder."""

    def _write(data: bytes, task: str = "cola", split: str = "train") -> Path:
        (tmp_path / task).mkdir(exist_ok=True)
        (tmp_path / task / f"{split}.tsv").write_bytes(data)
        return tmp_path

    return _write


@pytest.mark.parametrize(
    ("task", "split", "rows", "positive"),
    [
        # Row counts are GLUE's; the class shares are those of the published sets.
        ("cola", "train", 8_551, 0.704),
        ("cola", "validation", 1_043, 0.691),
        ("sst2", "train", 67_349, 0.558),
        ("sst2", "validation", 872, 0.509),
        ("rte", "train", 2_490, 0.498),
        ("rte", "validation", 277, 0.473),
    ],
)
def test_real_files_are_read_whole(shared_data: Path, task: str, split: str, rows: int, positive: float) -> None:
    examples = read_task(task, data_dir=shared_data / "glue", split=split)
    assert [example.idx for example in examples] == list(range(rows))
    assert {example.label for example in examples} == {0, 1}
    assert sum(example.label for example in examples) / rows == pytest.approx(positive, abs=1e-3)
    assert {len(example.texts) for example in examples} == {len(TASKS[task].columns)}


@pytest.mark.parametrize(("split", "rows"), [("train", 5_749), ("validation", 1_500)])
def test_real_scores(shared_data: Path, split: str, rows: int) -> None:
    examples = read_task("stsb", data_dir=shared_data / "glue", split=split)
    scores = [example.label for example in examples]
    assert len(scores) == rows
    assert (min(scores), max(scores)) == (0.0, 5.0)
    assert all(type(score) is float for score in scores)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_task_has_its_columns_in_any_order(write: Write, task: bench.tasks.Task) -> None:
    texts = tuple(f"text of {column}" for column in task.columns)
    fields = dict(zip(task.columns, texts, strict=True)) | {"label": str(task.labels - 1), "idx": "7"}
    split = task.splits[-1]
    for order in (task.header, task.header[::-1]):
        lines = ["\t".join(order), "\t".join(fields[column] for column in order)]
        folder = write("\n".join(lines).encode(), task.name, split)
        assert read_task(task.name, data_dir=folder, split=split) == [
            Example(texts=texts, label=task.labels - 1, idx=7)
        ]


def test_the_registry_is_hugging_face_glue() -> None:
    layout = {task.name: (task.columns, task.labels) for task in TASKS.values()}
    assert layout == {
        "cola": (("sentence",), 2),
        "sst2": (("sentence",), 2),
        "mrpc": (("sentence1", "sentence2"), 2),
        "stsb": (("sentence1", "sentence2"), 1),
        "qqp": (("question1", "question2"), 2),
        "mnli": (("premise", "hypothesis"), 3),
        "qnli": (("question", "sentence"), 2),
        "rte": (("sentence1", "sentence2"), 2),
        "wnli": (("sentence1", "sentence2"), 2),
    }
    assert TASKS["mnli"].splits == ("train", "validation_matched", "validation_mismatched")


@given(
    texts=st.lists(st.text(st.characters(exclude_characters="\t\n", exclude_categories=["Cs"])), min_size=1, max_size=5)
)
def test_any_text_without_tab_and_line_feed_comes_back(
    texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("glue")
    (folder / "cola").mkdir()
    rows = "".join(f"{text}\t1\t{i}\n" for i, text in enumerate(texts))
    (folder / "cola" / "train.tsv").write_bytes(f"sentence\tlabel\tidx\n{rows}".encode())
    assert [example.texts for example in read_task("cola", data_dir=folder)] == [(text,) for text in texts]


HEADER = b"sentence\tlabel\tidx\n"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (HEADER + b'a "lone quote\t1\t0\n"\t0\t1\n', 'a "lone quote'),
        (HEADER + "one\u2028two\x0b\x85\x1c\t1\t0\n".encode(), "one\u2028two\x0b\x85\x1c"),
        (HEADER + b"a\rb\t1\t0\n", "a\rb"),
        (HEADER + b"no last line feed\t1\t0", "no last line feed"),
        (HEADER + b"\t1\t0\n", ""),
        (b"\xef\xbb\xbf" + HEADER + b"after a BOM\t1\t0\n", "after a BOM"),
        (b"sentence\tlabel\tidx\r\nfrom Windows\t1\t0\r\n", "from Windows"),
        (b"idx\tlabel\tsentence\r\n0\t1\tfrom Windows\r\n", "from Windows"),
    ],
)
def test_strange_but_right(write: Write, data: bytes, text: str) -> None:
    assert read_task("cola", data_dir=write(data))[0] == Example(texts=(text,), label=1, idx=0)


@pytest.mark.parametrize(
    ("task", "data", "line", "needed"),
    [
        ("cola", b"", 1, "sentence, label, idx"),
        ("cola", b"\n", 1, "sentence, label, idx"),
        ("cola", HEADER, 2, "no examples"),
        ("cola", b"sentence\tlabel\na\t1\n", 1, "sentence, label, idx"),
        ("cola", b"sentence\tlabel\tidx\tidx\na\t1\t0\t0\n", 1, "sentence, label, idx"),
        ("cola", b"sentence1\tlabel\tidx\na\t1\t0\n", 1, "'sentence1'"),
        ("cola", b"sentence,label,idx\na,1,0\n", 1, "separated by tabs"),
        ("cola", HEADER + b"a\t1\t0\nb\t1\n", 3, "2 tab-separated fields"),
        ("cola", HEADER + b"a\tb\t1\t0\n", 2, "4 tab-separated fields"),
        ("cola", HEADER + b"a\t1\t0\n\nb\t1\t1\n", 3, "1 tab-separated fields"),
        ("cola", HEADER + b"a\t1\t0\n\n", 3, "1 tab-separated fields"),
        ("cola", HEADER + b"a\t2\t0\n", 2, "from 0 to 1"),
        ("cola", HEADER + b"a\t-1\t0\n", 2, "from 0 to 1"),
        ("cola", HEADER + b"a\t1.0\t0\n", 2, "from 0 to 1"),
        ("cola", HEADER + b"a\tyes\t0\n", 2, "'yes'"),
        ("cola", HEADER + "a\t\u0661\t0\n".encode(), 2, "from 0 to 1"),
        ("cola", HEADER + b"a\t1\tx\n", 2, "idx is 'x'"),
        # More digits than Python reads as a number.
        ("cola", HEADER + b"a\t1\t" + b"7" * 5000 + b"\n", 2, "idx is '777"),
        ("cola", HEADER + b"a\t" + b"1" * 5000 + b"\t0\n", 2, "from 0 to 1"),
        ("cola", HEADER + b"fine\t1\t0\nb\xff\t1\t1\n", 3, "0xff is not UTF-8"),
        ("cola", "sentence\tlabel\tidx\n".encode("utf-16"), 1, "UTF-8"),
        ("stsb", b"sentence1\tsentence2\tlabel\tidx\na\tb\t5.1\t0\n", 2, "from 0 to 5"),
        ("stsb", b"sentence1\tsentence2\tlabel\tidx\na\tb\tnan\t0\n", 2, "from 0 to 5"),
        ("stsb", b"sentence1\tsentence2\tlabel\tidx\na\tb\t-0.1\t0\n", 2, "from 0 to 5"),
    ],
)
def test_hostile_files_are_refused_with_their_line(
    write: Write, task: str, data: bytes, line: int, needed: str
) -> None:
    folder = write(data, task)
    with pytest.raises(BadRequest) as caught:
        read_task(task, data_dir=folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / task / 'train.tsv'}:{line}: ")
    assert needed in message
    assert "\n" not in message


def test_a_missing_file_tells_what_is_there(write: Write, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"TASK/SPLIT\.tsv"):
        read_task("rte", data_dir=tmp_path)
    write(HEADER + b"a\t1\t0\n", "cola")
    write(HEADER + b"a\t1\t0\n", "sst2")
    with pytest.raises(BadRequest, match="--task cola or sst2"):
        read_task("rte", data_dir=tmp_path)
    with pytest.raises(BadRequest, match="no folder"):
        read_task("rte", data_dir=tmp_path / "nowhere")


def test_wrong_requests(write: Write) -> None:
    folder = write(HEADER + b"a\t1\t0\nb\t0\t1\n")
    with pytest.raises(BadRequest, match=r"unknown task 'CoLA'.*cola, sst2"):
        read_task("CoLA", data_dir=folder)
    with pytest.raises(BadRequest, match="validation_matched"):
        read_task("mnli", data_dir=folder, split="validation")
    for limit in (0, -1):
        with pytest.raises(BadRequest, match=f"--limit {limit} "):
            read_task("cola", data_dir=folder, limit=limit)
    assert len(read_task("cola", data_dir=folder, limit=1)) == 1
    assert len(read_task("cola", data_dir=folder, limit=99)) == 2


def test_the_fingerprint_sees_each_field() -> None:
    base = [Example(texts=("a", "b"), label=1, idx=0)]
    others = [
        [Example(texts=("a", "c"), label=1, idx=0)],
        [Example(texts=("ab",), label=1, idx=0)],
        [Example(texts=("a", "b"), label=0, idx=0)],
        [Example(texts=("a", "b"), label=1, idx=1)],
        base * 2,
    ]
    prints = {text_fingerprint(examples) for examples in [base, *others]}
    assert len(prints) == 6
    assert text_fingerprint(list(base)) in prints
    assert all(len(one) == 16 for one in prints)


def test_the_hub_is_read_like_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    columns: dict[str, list] = {
        "idx": [0, 1, 2],
        "label": [1, 0, 1],
        "sentence1": ["a", "b", "c"],
        "sentence2": ["d", "e", "f"],
    }
    asked: list[tuple[str, str, str]] = []

    class _Table:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, rows: slice) -> dict[str, list]:
            return {name: values[rows] for name, values in columns.items()}

    def load_dataset(path: str, name: str, *, split: str) -> _Table:
        print("downloading")
        logging.getLogger("datasets").error("chatter")
        asked.append((path, name, split))
        return _Table()

    fake = types.ModuleType("datasets")
    fake.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", fake)
    monkeypatch.setattr(bench.tasks, "reachable", lambda: True)
    assert read_task("rte", data_dir=None, split="validation", limit=2) == [
        Example(texts=("a", "d"), label=1, idx=0),
        Example(texts=("b", "e"), label=0, idx=1),
    ]
    assert asked == [("glue", "rte", "validation")]


def test_no_package_and_no_hub_are_one_line_each(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(bench.tasks, "reachable", lambda: False)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "datasets", None)
        with pytest.raises(BadRequest, match=r"pip install -e '\.\[eval\]', or pass --data-dir DIR"):
            read_task("cola", data_dir=None)
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    with pytest.raises(BadRequest, match=r"hub is not reachable.*--data-dir DIR with DIR/cola/train\.tsv"):
        read_task("cola", data_dir=None)
    assert capfd.readouterr() == ("", "")
