"""Question files, references and their policies, the published files' cache, the project's own set."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.errors import BadRequest
from eval.mtbench import published
from eval.mtbench.protocol import load_protocol
from eval.mtbench.published import FILES, NotAtHand, PublishedFile, obtain
from eval.mtbench.questions import POLICIES, read_questions, read_references, under_policy, without

BARE = [(103, 2), (108, 2), (110, 2), (123, 1), (123, 2)]


def written(path: Path, *lines: object) -> Path:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def test_mt_bench_inf_and_what_it_lacks(shared_data: Path) -> None:
    questions = read_questions(shared_data / "mtbench" / "mt_bench_inf.jsonl")
    assert len(questions) == 80 and {len(question.turns) for question in questions} == {2}
    assert without(questions) == BARE
    by_id = {question.question_id: question for question in questions}
    assert by_id[103].references == ("Thomas may work at a hospital.", None)
    assert by_id[123].references == (None, None)


def test_each_policy_gives_its_references(shared_data: Path) -> None:
    folder = shared_data / "mtbench"
    questions = read_questions(folder / "mt_bench_inf.jsonl")
    gpt4 = read_references(folder / "reference_answer_gpt-4.jsonl")
    given = {policy: {q.question_id: q for q in under_policy(questions, policy, gpt4)} for policy in POLICIES}
    assert given["inf"][111].references[0] == "Area is 3"
    assert given["gpt-4"][111].references == gpt4[111]
    assert given["gpt-4"][95].references == (None, None)  # of a category without reference
    mixed = given["per-turn-fallback"]
    assert mixed[111].references[0] == "Area is 3"
    assert mixed[103].references == ("Thomas may work at a hospital.", gpt4[103][1])
    assert mixed[123].references == gpt4[123]
    assert without(list(mixed.values())) == []


def test_a_set_is_loaded_with_its_policy_told(shared_data: Path) -> None:
    folder = shared_data / "mtbench"
    protocol = load_protocol("mt-bench-inf", policy="inf", prompts=None, data_dir=folder, limit=None)
    assert (protocol.policy, protocol.prompts_name, protocol.labels) == ("inf", "published", ())
    assert "123/2" in protocol.policies[1]
    assert protocol.fingerprints["questions"] == FILES["mt_bench_inf.jsonl"].sha256
    protocol = load_protocol("mt-bench", policy=None, prompts=None, data_dir=folder, limit=3)
    assert protocol.policy == "gpt-4" and len(protocol.questions) == 3
    assert any("first 3 of 80" in label for label in protocol.labels)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("not json", "line 1: not JSON"),
        ([1], "line 1: a JSON object"),
        ({"category": "math", "turns": ["a"]}, "question_id"),
        ({"question_id": True, "category": "math", "turns": ["a"]}, "question_id"),
        ({"question_id": 1, "turns": ["a"]}, "category"),
        ({"question_id": 1, "category": "math", "turns": "ab"}, "a list of texts"),
        ({"question_id": 1, "category": "math", "turns": []}, "one or two texts"),
        ({"question_id": 1, "category": "math", "turns": ["a", ""]}, "one or two texts"),
        ({"question_id": 1, "category": "math", "turns": ["a"] * 3}, "one or two texts"),
        ({"question_id": 1, "category": "math", "turns": ["a"], "reference": ["x", "y"]}, "2 references for 1 turns"),
        ({"question_id": 1, "category": "math", "turns": ["a"], "reference": [1]}, "a list of texts"),
    ],
)
def test_what_does_not_fit_is_named_by_line(tmp_path: Path, line: object, told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        read_questions(written(tmp_path / "q.jsonl", line))


def test_ids_are_told_apart_and_files_are_not_empty(tmp_path: Path) -> None:
    line = {"question_id": 1, "category": "math", "turns": ["line\u2028separator", "b"]}
    assert read_questions(written(tmp_path / "q.jsonl", json.dumps(line, ensure_ascii=False), ""))[0].question_id == 1
    with pytest.raises(BadRequest, match="line 2: question_id 1 stands there twice"):
        read_questions(written(tmp_path / "q.jsonl", line, line))
    with pytest.raises(BadRequest, match="no question"):
        read_questions(written(tmp_path / "q.jsonl"))
    (tmp_path / "q.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(BadRequest, match="UTF-8"):
        read_questions(tmp_path / "q.jsonl")


def test_the_project_s_own_questions() -> None:
    protocol = load_protocol("own", policy=None, prompts=None, data_dir=None, limit=None)
    counts = [question.category for question in protocol.questions]
    assert len(counts) == 16 and {counts.count(name) for name in counts} == {2} and len(set(counts)) == 8
    assert without(protocol.questions) == []
    assert protocol.prompts_name == "own"
    assert all("not the published protocol" in label for label in protocol.labels) and len(protocol.labels) == 2


def test_the_own_coding_references_do_what_they_say() -> None:
    protocol = load_protocol("own", policy=None, prompts=None, data_dir=None, limit=None)
    runs, tally = (question for question in protocol.questions if question.category == "coding")
    told: dict[str, object] = {}
    for reference in runs.references:
        exec(str(reference), told)
    pairs = told["runs"](iter([3, 3, 1, 3]))  # type: ignore[operator]
    assert pairs == [(3, 2), (1, 1), (3, 1)]
    assert list(told["expand"](pairs)) == [3, 3, 1, 3]  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"\(3, 0\)"):
        list(told["expand"]([(3, 0)]))  # type: ignore[operator]
    exec(str(tally.references[1]), told)
    start = {"a": 1}
    assert told["tally"]("a", start) == {"a": 2} and start == {"a": 1}  # type: ignore[operator]


def test_a_file_of_one_s_own_is_labelled(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.jsonl", {"question_id": 7, "category": "law", "turns": ["a"]})
    protocol = load_protocol(str(path), policy=None, prompts="own", data_dir=None, limit=None)
    assert protocol.labels[0] == "not the published protocol: the questions of mine.jsonl"
    with pytest.raises(BadRequest, match="belong to the published questions"):
        load_protocol(str(path), policy="gpt-4", prompts="own", data_dir=None, limit=None)
    with pytest.raises(BadRequest, match="no set and no file"):
        load_protocol("mt-bensh", policy=None, prompts=None, data_dir=None, limit=None)
    with pytest.raises(BadRequest, match="--limit 0"):
        load_protocol("own", policy=None, prompts=None, data_dir=None, limit=0)


def test_vicuna_s_single_turns_are_read_and_told_to_be_unverified(tmp_path: Path, shared_data: Path) -> None:
    written(
        tmp_path / "vicuna_question.jsonl",
        {"question_id": 1, "category": "generic", "turns": ["a"]},
        {"question_id": 61, "category": "coding", "turns": ["b"]},
    )
    reference = {"question_id": 61, "choices": [{"index": 0, "turns": ["B"]}]}
    written(tmp_path / "vicuna_reference_answer_gpt-4.jsonl", reference)
    (tmp_path / "judge_prompts.jsonl").write_bytes((shared_data / "mtbench" / "judge_prompts.jsonl").read_bytes())
    protocol = load_protocol("vicuna", policy=None, prompts=None, data_dir=tmp_path, limit=None)
    assert [question.references for question in protocol.questions] == [(None,), ("B",)]
    assert "unverified" in protocol.labels[0]


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "question.jsonl", {"question_id": 1, "category": "math", "turns": ["a"]})
    with pytest.raises(BadRequest, match=r"is not the published question\.jsonl"):
        obtain("question.jsonl", tmp_path)
    with pytest.raises(NotAtHand, match=r"has no judge_prompts\.jsonl"):
        obtain("judge_prompts.jsonl", tmp_path)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder served over HTTP, and its address; the cache is a new folder."""
    folder = tmp_path / "site"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_published_file_is_fetched_once_and_checked(site: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, address = site
    (folder / "f.jsonl").write_bytes(b"{}\n")
    file = PublishedFile(name="f.jsonl", url=f"{address}/f.jsonl", sha256=hashlib.sha256(b"{}\n").hexdigest())
    monkeypatch.setitem(published.FILES, "f.jsonl", file)
    path = obtain("f.jsonl", None)
    assert path.read_bytes() == b"{}\n"
    (folder / "f.jsonl").unlink()
    assert obtain("f.jsonl", None) == path  # from the cache
    assert [one.name for one in path.parent.iterdir()] == ["f.jsonl"]
    monkeypatch.setitem(published.FILES, "g.jsonl", replace(file, name="g.jsonl", url=f"{address}/g.jsonl"))
    with pytest.raises(NotAtHand, match="--data-dir DIR"):
        obtain("g.jsonl", None)
    (folder / "g.jsonl").write_bytes(b"tampered")
    with pytest.raises(BadRequest, match="is not the published"):
        obtain("g.jsonl", None)
    assert [one.name for one in path.parent.iterdir()] == ["f.jsonl"]
