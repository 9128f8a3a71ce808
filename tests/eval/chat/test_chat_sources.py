"""Files of conversations: what each form becomes, what is refused by file and line, and a split that does not leak."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BadRequest
from eval.chat.conversation import Corpus, Turn, trees_of
from eval.chat.sources import Parts, read_parts
from eval.chat.synthetic import generated


def write(path: Path, lines: list[Any]) -> str:
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return str(path)


def instructions(count: int) -> list[dict[str, str]]:
    return [{"instruction": f"say {at}", "input": "", "output": f"it is {at}"} for at in range(count)]


def both(parts: Parts) -> Corpus:
    return Corpus(conversations=(*parts.train, *parts.valid))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_instructions_with_and_without_input(tmp_path: Path, name: str) -> None:
    lines = [*instructions(30), {"instruction": "add", "input": " 1 2 ", "output": " 3 "}]
    told = {c.turns for c in both(read_parts(write(tmp_path / name, lines), lang=None, limit=None)).conversations}
    assert len(told) == 31
    assert (Turn(role="user", text="add\n\n1 2"), Turn(role="assistant", text="3")) in told
    assert (Turn(role="user", text="say 0"), Turn(role="assistant", text="it is 0")) in told


def test_messages_end_with_the_last_reply(tmp_path: Path) -> None:
    def talk(at: int) -> dict[str, Any]:
        roles = ("system", "user", "assistant", "user", "assistant", "user")
        return {"messages": [{"role": role, "content": f"{role} {at}"} for role in roles]}

    parts = read_parts(write(tmp_path / "a.jsonl", [talk(at) for at in range(20)]), lang=None, limit=None)
    roles = [turn.role for turn in parts.train[0].turns]
    assert roles == ["system", "user", "assistant", "user", "assistant"]


def test_no_tree_stands_on_both_sides_and_the_split_is_the_same_each_time(tmp_path: Path) -> None:
    """Branches of a tree, and lines that ask the same, share what they begin with."""
    lines = []
    for tree in range(40):
        lines += [_message(f"p{tree}", None, tree), _message(f"a{tree}", f"p{tree}", tree)]
        for branch in range(3):
            name = f"{tree}-{branch}"
            lines += [_message(f"p{name}", f"a{tree}", tree), _message(f"a{name}", f"p{name}", tree)]
    twice = [{"instruction": f"say {at % 20}", "output": f"{at}"} for at in range(60)]
    for name, told, trees in (("trees.jsonl", lines, 40), ("twice.jsonl", twice, 20)):
        parts = read_parts(write(tmp_path / name, told), lang=None, limit=None)
        train, valid = set(trees_of(parts.train)), set(trees_of(parts.valid))
        assert not train & valid and len(train | valid) == trees and len(valid) == max(2, trees // 10)
        assert len(both(parts).conversations) == trees * 3
        assert parts == read_parts(str(tmp_path / name), lang=None, limit=None)


def _message(name: str, parent: str | None, tree: int) -> dict[str, Any]:
    role = "prompter" if name.startswith("p") else "assistant"
    told = {"message_id": name, "parent_id": parent, "text": name, "role": role, "lang": "en"}
    return {**told, "message_tree_id": f"p{tree}"}


def test_a_limit_counts_trees_of_each_part(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", instructions(100))
    parts = read_parts(path, lang=None, limit=5)
    whole = read_parts(path, lang=None, limit=None)
    assert (parts.train, parts.valid) == (whole.train[:5], whole.valid[:5])
    with pytest.raises(BadRequest, match="fewer than 2 conversations to train on"):
        read_parts(path, lang=None, limit=1)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"instruction": "x", "output": " "}, "output is empty"),
        ({"instruction": "x", "output": 3}, "output must be a text, got int"),
        ({"instruction": "x", "output": "y", "input": []}, "input must be a text, got list"),
        ({"question": "x", "answer": "y"}, "none of messages"),
        ({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}, "another form"),
        (["x"], "a JSON object is needed"),
    ],
)
def test_a_bad_line_is_named_by_file_and_line(tmp_path: Path, line: Any, why: str) -> None:
    path = write(tmp_path / "bad.jsonl", [*instructions(2), line])
    with pytest.raises(BadRequest, match=rf"bad\.jsonl, line 3: .*{why}"):
        read_parts(path, lang=None, limit=None)


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ("hi", "must be a list"),
        ([{"role": "user", "content": "hi"}], "no reply"),
        ([{"role": "assistant", "content": "hi"}], "message 1: assistant speaks where system or user is due"),
        ([{"role": "user", "content": "hi"}, {"role": "user", "content": "hi"}], "message 2: user speaks"),
        ([{"role": "tool", "content": "hi"}], "message 1: role is 'tool'"),
        ([{"role": "user", "content": ""}], "message 1: content is empty"),
        ([{"role": "user", "content": "hi"}, {"role": "system", "content": "hi"}], "message 2: system speaks"),
    ],
)
def test_bad_messages_are_named(tmp_path: Path, messages: Any, why: str) -> None:
    with pytest.raises(BadRequest, match=rf"bad\.jsonl, line 1.*{why}"):
        read_parts(write(tmp_path / "bad.jsonl", [{"messages": messages}]), lang=None, limit=None)


def test_what_cannot_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "no.jsonl.gz").write_bytes(b"plain")
    deep = tmp_path / "deep.jsonl"
    deep.write_text('{"messages":' + "[" * 100_000 + "]" * 100_000 + "}\n", encoding="utf-8")
    for data in ("nothing.jsonl", str(tmp_path / "no.jsonl.gz"), str(deep)):
        with pytest.raises(BadRequest) as caught:
            read_parts(data, lang=None, limit=None)
        assert "\n" not in str(caught.value)
    with pytest.raises(BadRequest, match=r"--lang en: a\.jsonl says no languages"):
        read_parts(write(tmp_path / "a.jsonl", instructions(30)), lang="en", limit=None)
    with pytest.raises(BadRequest, match="fewer than 2 conversations"):
        read_parts(write(tmp_path / "a.jsonl", instructions(3)), lang=None, limit=None)
    monkeypatch.setattr("eval.chat.sources.reachable", lambda: False)
    with pytest.raises(BadRequest, match=r"cannot load --data oasst1: the hub is not reachable.*give --data FILE"):
        read_parts("oasst1", lang=None, limit=None)


def test_the_hubs_rows_go_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its splits are kept as published; what is left out is counted over both."""
    import datasets

    def rows(name: str, *, split: str) -> list[dict[str, Any]]:
        assert name == "OpenAssistant/oasst1"
        told = [
            m
            for at in range(4)
            for m in (_message(f"p{split}{at}", None, at), _message(f"a{split}{at}", f"p{split}{at}", at))
        ]
        return [{**m, "message_tree_id": f"{split}{m['message_tree_id']}"} for m in told] + [
            {**_message(f"p{split}x", None, 9), "lang": "ru"}
        ]

    monkeypatch.setattr("eval.chat.sources.reachable", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", rows)
    parts = read_parts("oasst1", lang=None, limit=None)
    assert (len(parts.train), len(parts.valid), parts.dropped) == (4, 4, {"other language": 2})
    assert all("train" in c.tree for c in parts.train) and all("validation" in c.tree for c in parts.valid)


def test_the_generated_text_is_the_same_each_time() -> None:
    parts = generated()
    assert parts == generated() and (len(parts.train), len(parts.valid)) == (600, 100)
    assert generated(3).train == parts.train[:3]
