"""Where conversations come from: OpenAssistant on the hub, or a file of one JSON object a line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch

from bench.errors import BadRequest
from bench.hub import cache_only, first_line, quiet, reachable
from eval.chat.conversation import Conversation, Corpus, Role, Turn, trees_of
from eval.chat.oasst import threads
from eval.chat.posts import Post, posts_of
from eval.mtbench.jsonl import read_objects

__all__ = ["HUB", "Parts", "read_parts"]

HUB = "oasst1"
_HUB_ID = "OpenAssistant/oasst1"
_ENGLISH = "en"
# Which trees are held out must not vary with the seeds that are compared.
_HELD_OUT_SEED = 271_828
_HELD_OUT_SHARE, _HELD_OUT_MOST = 0.1, 1000
_FORMATS = (
    "messages ({'messages': [{'role': ..., 'content': ...}]}), {'instruction': ..., 'input': ..., 'output': ...}, or "
    "OpenAssistant's messages or trees"
)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What is trained on and what is scored, no tree in both; what the source had that is in neither."""

    train: tuple[Conversation, ...]
    valid: tuple[Conversation, ...]
    dropped: Mapping[str, int]


def read_parts(data: str, *, lang: str | None, limit: int | None) -> Parts:
    """The conversations of `data`: ``oasst1`` (the hub's, split as published) or a file, split by tree.

    Arguments:
        lang: of OpenAssistant's messages; ``all`` for every one; None: en. Other data has no languages.
        limit: of each part, the conversations of so many trees at most.
    Raises BadRequest where nothing can be read or is left, with file and line of what is malformed.
    """
    if data == HUB:
        parts = [threads(_hub_posts(split), lang=_language(lang)) for split in ("train", "validation")]
        train, valid = (part.limited(limit) for part in parts)
        reasons = dict.fromkeys(reason for part in parts for reason in part.dropped)
        dropped = {reason: sum(part.dropped.get(reason, 0) for part in parts) for reason in reasons}
    else:
        corpus = _read_file(Path(data), lang)
        train, valid = (part.limited(limit) for part in _split(corpus))
        dropped = dict(corpus.dropped)
    for name, part in {"train": train, "validation": valid}.items():
        if len(trees_of(part.conversations)) < 2:
            told = ", ".join(f"{count} {reason}" for reason, count in dropped.items()) or "nothing was left out"
            raise BadRequest(f"--data {data}: fewer than 2 conversations to {name} on ({told}); give more of them")
    return Parts(train=train.conversations, valid=valid.conversations, dropped=dropped)


def _language(lang: str | None) -> str | None:
    return None if lang == "all" else lang or _ENGLISH


def _split(corpus: Corpus) -> tuple[Corpus, Corpus]:
    """A tenth of the trees is held out; two are needed to be compared on."""
    trees = trees_of(corpus.conversations)
    held = min(max(2, round(_HELD_OUT_SHARE * len(trees))), _HELD_OUT_MOST)
    order = torch.randperm(len(trees), generator=torch.Generator().manual_seed(_HELD_OUT_SEED)).tolist()
    chosen = {trees[at] for at in order[:held]}
    train = tuple(told for told in corpus.conversations if told.tree not in chosen)
    valid = tuple(told for told in corpus.conversations if told.tree in chosen)
    return Corpus(conversations=train), Corpus(conversations=valid)


def _read_file(path: Path, lang: str | None) -> Corpus:
    if not path.is_file():
        raise BadRequest(f"--data {path}: no such file; give {HUB} (from the hub) or a FILE.jsonl of {_FORMATS}")
    form: Callable[[Mapping[str, Any], str], Any] | None = None
    read: list[Any] = []
    for place, told in read_objects(path):
        own = _form_of(told)
        if own is None:
            raise BadRequest(f"{place}: the line is none of {_FORMATS}")
        if form not in (None, own):
            raise BadRequest(f"{place}: the line is of another form than those above; one form a file is needed")
        form = own
        read.append(own(told, place))
    if form is posts_of:
        return threads((post for posts in read for post in posts), lang=_language(lang))
    if lang is not None:
        raise BadRequest(f"--lang {lang}: {path.name} says no languages; leave it out")
    return Corpus(conversations=tuple(read))


def _form_of(told: Mapping[str, Any]) -> Callable[[Mapping[str, Any], str], Any] | None:
    if "message_id" in told or ("prompt" in told and "message_tree_id" in told):
        return posts_of
    if "messages" in told:
        return _from_messages
    return _from_instruction if {"instruction", "output"} <= told.keys() else None


def _from_instruction(told: Mapping[str, Any], place: str) -> Conversation:
    instruction, output = _said(told, "instruction", place), _said(told, "output", place)
    more = _said(told, "input", place, needed=False)
    question = f"{instruction}\n\n{more}" if more else instruction
    return _conversation([Turn(role="user", text=question), Turn(role="assistant", text=output)])


def _from_messages(told: Mapping[str, Any], place: str) -> Conversation:
    """Question and reply in turn, behind a system message or none; what follows the last reply teaches nothing."""
    messages = told["messages"]
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise BadRequest(f"{place}: messages must be a list of objects with role and content")
    turns: list[Turn] = []
    for number, message in enumerate(messages, start=1):
        role, where = message.get("role"), f"{place}, message {number}"
        if role not in get_args(Role):
            raise BadRequest(f"{where}: role is {role!r:.40}; give one of {', '.join(get_args(Role))}")
        expected = ("system", "user") if not turns else ("assistant",) if turns[-1].role == "user" else ("user",)
        if role not in expected:
            raise BadRequest(f"{where}: {role} speaks where {' or '.join(expected)} is due; let them take turns")
        turns.append(Turn(role=role, text=_said(message, "content", where)))
    while turns and turns[-1].role != "assistant":
        turns.pop()
    if not turns:
        raise BadRequest(f"{place}: no reply of the assistant; there is nothing to learn")
    return _conversation(turns)


def _conversation(turns: list[Turn]) -> Conversation:
    """Those that begin alike are one tree: a question that comes twice does not stand on both sides of a split."""
    first = next(turn for turn in turns if turn.role == "user")
    return Conversation(tree=first.text, turns=tuple(turns))


def _said(told: Mapping[str, Any], name: str, place: str, *, needed: bool = True) -> str:
    value = told.get(name)
    if value is None and not needed:
        return ""
    if not isinstance(value, str):
        raise BadRequest(f"{place}: {name} must be a text, got {type(value).__name__}")
    if needed and not value.strip():
        raise BadRequest(f"{place}: {name} is empty; take the line out, or give it a text")
    return value.strip()


def _hub_posts(split: str) -> Iterator[Post]:
    remedy = f"give --data FILE.jsonl.gz, a published file of {_HUB_ID}"
    try:
        import datasets
    except ImportError as error:
        raise BadRequest(
            f"--data {HUB} from the hub needs datasets: pip install 'sparsegrad[eval]', or {remedy}"
        ) from error
    online = reachable()
    try:
        with quiet():
            if online:
                table: Iterable[Any] = datasets.load_dataset(_HUB_ID, split=split)
            else:
                with cache_only():
                    table = datasets.load_dataset(_HUB_ID, split=split)
    except Exception as error:
        # The library's failures share no base; each one means that this split could not be had.
        why = first_line(error) if online else "the hub is not reachable and it is not cached"
        raise BadRequest(f"cannot load --data {HUB}: {why}; {remedy}") from error
    for number, row in enumerate(table):
        yield from posts_of(row, f"{HUB}/{split}, row {number}")
