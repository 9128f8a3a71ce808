"""Message trees to threads: branches, ranks, deletions, languages, circles and parents that are not there."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import pytest

from bench.errors import BadRequest
from eval.chat.conversation import Corpus
from eval.chat.oasst import threads
from eval.chat.posts import Post, posts_of


def message(name: str, parent: str | None, **fields: Any) -> dict[str, Any]:
    """A message as published; its role follows from its name: p... or a..."""
    role = "prompter" if name.startswith("p") else "assistant"
    told = {"message_id": name, "parent_id": parent, "text": f"text of {name}", "role": role, "lang": "en"}
    return {**told, "rank": None, "deleted": False, "review_result": True, "message_tree_id": "p0", **fields}


def read(*messages: dict[str, Any], lang: str | None = None) -> Corpus:
    posts = [post for at, told in enumerate(messages, start=1) for post in posts_of(told, f"f, line {at}")]
    return threads(posts, lang=lang)


def told(corpus: Corpus) -> list[str]:
    """Each thread in short: its messages' names, those in brackets not learned."""
    names = []
    for conversation in corpus.conversations:
        turns = [(turn.text.removeprefix("text of "), turn.learn or turn.role == "user") for turn in conversation.turns]
        names.append(" ".join(name if learned else f"[{name}]" for name, learned in turns))
    return names


def test_the_best_reply_is_followed_and_each_follow_up_prompt_is_a_thread() -> None:
    corpus = read(
        message("p0", None),
        message("a1", "p0", rank=1),
        message("a2", "p0", rank=0),
        message("p3", "a2"),
        message("p4", "a2"),
        message("a5", "p3", rank=0),
        message("a6", "p4", rank=2),
        message("a7", "p4", rank=1),
        message("p8", "a7"),
        message("p9", "a1"),
        message("a9", "p9", rank=0),
    )
    assert told(corpus) == ["p0 a2 p3 a5", "p0 [a2] p4 a7"]
    assert {conversation.tree for conversation in corpus.conversations} == {"p0"}
    assert not corpus.dropped


def test_every_reply_is_learned_once() -> None:
    """However often a tree branches below it."""
    messages = [message("p0", None), message("a0", "p0")]
    for branch in "123":
        messages += [message(f"p{branch}", "a0"), message(f"a{branch}", f"p{branch}")]
        for twig in "45":
            messages += [message(f"p{branch}{twig}", f"a{branch}"), message(f"a{branch}{twig}", f"p{branch}{twig}")]
    corpus = read(*messages)
    learned = [t.text for c in corpus.conversations for t in c.turns if t.role == "assistant" and t.learn]
    assert len(corpus.conversations) == 6
    assert sorted(learned) == sorted({m["text"] for m in messages if m["role"] == "assistant"})


@pytest.mark.parametrize(
    ("ranks", "best"),
    [
        ((0, 0, 1), "a1"),
        ((None, None, None), "a1"),
        ((None, 2, 1), "a3"),
        ((1, None, 1), "a1"),
        ((None, 7, None), "a2"),
    ],
)
def test_equal_and_missing_ranks(ranks: tuple[int | None, ...], best: str) -> None:
    """Of equal ranks the first in the file; a rank, whatever it is, before none."""
    replies = [message(f"a{at}", "p0", rank=rank) for at, rank in enumerate(ranks, start=1)]
    assert told(read(message("p0", None), *replies)) == [f"p0 {best}"]


def test_a_deleted_or_rejected_message_goes_with_what_hangs_below() -> None:
    corpus = read(
        message("p0", None),
        message("a1", "p0", rank=0, deleted=True),
        message("p2", "a1"),
        message("a3", "p2"),
        message("a4", "p0", rank=1, review_result=False),
        message("a5", "p0", rank=2, review_result=None),
    )
    assert told(corpus) == ["p0 a5"]
    assert corpus.dropped == {"deleted": 1, "rejected in review": 1, "below a message that was left out": 2}


def test_a_deleted_root_leaves_nothing() -> None:
    assert told(read(message("p0", None, deleted=True), message("a1", "p0"))) == []


def test_languages() -> None:
    messages = [
        message("p0", None, lang="de"),
        message("a0", "p0", lang="de"),
        message("p1", None, lang="en", message_tree_id="p1"),
        message("a1", "p1", lang="es", rank=0),
        message("a2", "p1", lang="en", rank=1),
        message("p3", None, lang=None, message_tree_id="p3"),
        message("a3", "p3"),
    ]
    assert told(read(*messages, lang="en")) == ["p1 a2"]
    assert told(read(*messages, lang="de")) == ["p0 a0"]
    assert told(read(*messages)) == ["p0 a0", "p1 a1", "p3 a3"]
    assert read(*messages, lang="en").dropped == {"other language": 4, "below a message that was left out": 1}


def test_a_cycle_and_a_missing_parent_are_counted_and_the_rest_stays() -> None:
    corpus = read(
        message("p0", None),
        message("a0", "p0"),
        message("p1", "a2"),
        message("a2", "p1"),
        message("p3", "a2"),
        message("p4", "p4"),
        message("a5", "nowhere"),
        message("p6", "a5"),
    )
    assert told(corpus) == ["p0 a0"]
    assert corpus.dropped == {"in or below a cycle": 4, "parent missing": 2}


def test_the_order_of_the_lines_does_not_matter_where_ranks_decide() -> None:
    messages = [message("p0", None), message("a1", "p0", rank=1), message("a2", "p0", rank=0), message("p3", "a2")]
    messages.append(message("a4", "p3"))
    assert {tuple(told(read(*order))) for order in permutations(messages)} == {("p0 a2 p3 a4",)}


def test_roles_take_turns_and_empty_texts_go() -> None:
    corpus = read(
        message("p0", None),
        message("p1", "p0"),
        message("a1", "p0", rank=1),
        message("a2", "p0", rank=0, text=" \n"),
        message("a3", None, message_tree_id="a3"),
    )
    assert told(corpus) == ["p0 a1"]
    assert corpus.dropped == {"out of turn": 2, "empty": 1}


def test_trees_that_were_never_finished_are_left_out() -> None:
    aborted = [message("p0", None, tree_state="aborted_low_grade"), message("a0", "p0", tree_state="aborted_low_grade")]
    ready = [message("p1", None, tree_state="ready_for_export"), message("a1", "p1", tree_state="ready_for_export")]
    corpus = read(*aborted, *ready)
    assert told(corpus) == ["p1 a1"] and corpus.dropped == {"tree not ready for export": 2}


def nested(name: str, *replies: dict[str, Any], **fields: Any) -> dict[str, Any]:
    flat = message(name, None, **fields)
    del flat["parent_id"], flat["message_tree_id"]
    return {**flat, "replies": list(replies)}


def test_a_tree_a_line_is_the_same_as_its_messages() -> None:
    prompt = nested("p0", nested("a1", rank=1), nested("a2", nested("p3", nested("a4")), rank=0))
    tree = {"message_tree_id": "p0", "tree_state": "ready_for_export", "prompt": prompt}
    flat = [message("p0", None), message("a1", "p0", rank=1), message("a2", "p0", rank=0)]
    flat += [message("p3", "a2"), message("a4", "p3")]
    assert read(tree).conversations == read(*flat).conversations != ()


def test_a_thread_of_any_depth() -> None:
    names = [f"{'pa'[at % 2]}{at}" for at in range(3000)]
    parents = [None, *names[:-1]]
    corpus = read(*map(message, names, parents))
    assert len(corpus.conversations[0].turns) == 3000


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"role": "system"}, "role is 'system'"),
        ({"text": None}, "text must be a text"),
        ({"rank": "best"}, "rank is 'best'"),
        ({"rank": True}, "rank is True"),
        ({"message_id": 7}, "message_id must be a text"),
        ({"parent_id": 7}, "parent_id must be a text"),
        ({"lang": 7}, "lang must be a text"),
        ({"rank": float("nan")}, "rank is nan"),
        ({"deleted": "true"}, "deleted is 'true'; true, false or null is needed"),
        ({"review_result": 0}, "review_result is 0; true, false or null is needed"),
        ({"tree_state": 3}, "tree_state must be a text"),
    ],
)
def test_a_bad_line_is_named(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(BadRequest, match=rf"f, line 2: {why}"):
        read(message("p0", None), message("a1", "p0", **wrong))


def test_an_id_that_comes_twice_is_named_with_both_places() -> None:
    with pytest.raises(BadRequest, match=r"f, line 3: message_id 'a1' was there before \(f, line 2\)"):
        read(message("p0", None), message("a1", "p0"), message("a1", "p0"))


@pytest.mark.parametrize("wrong", [{"prompt": 3}, {"prompt": {**nested("p0"), "replies": {"a": 1}}}])
def test_a_bad_tree_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="f, line 1: "):
        read(json.loads(json.dumps({"message_tree_id": "p0", **wrong})))


def test_a_post_keeps_its_place() -> None:
    (post,) = posts_of(message("p0", None), "f.jsonl, line 9")
    assert isinstance(post, Post) and post.place == "f.jsonl, line 9"
