"""OpenAssistant's messages as published: a flat message a line, or a whole tree with its replies inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.errors import BadRequest

__all__ = ["ROLES", "Post", "posts_of"]

ROLES = ("prompter", "assistant")


@dataclass(frozen=True, kw_only=True)
class Post:
    """One message of a tree. Fields as published; a missing one is None."""

    message_id: str
    parent_id: str | None
    tree: str
    role: str
    text: str
    lang: str | None
    rank: int | None
    """Among its siblings, 0 the best."""
    deleted: bool
    rejected: bool
    """Reviewers found that it should not stand."""
    state: str | None
    """Of its tree."""
    place: str
    """File and line."""


def posts_of(told: Mapping[str, Any], place: str) -> list[Post]:
    """The messages of one line: a message with its parent_id, or a tree with its replies inside.

    Raises BadRequest, with the place, for a line that is neither and for fields of another type.
    """
    state = _text_or_none(told, "tree_state", place)
    if "prompt" not in told:
        return [_post(told, place, _text_or_none(told, "parent_id", place), state, None)]
    tree = _text(told, "message_tree_id", place)
    posts: list[Post] = []
    waiting: list[tuple[Any, str | None]] = [(told["prompt"], None)]
    while waiting:  # not by recursion: how deep a tree is, its author decides
        message, parent = waiting.pop()
        if not isinstance(message, dict):
            raise BadRequest(f"{place}: a message is an object, got {type(message).__name__}")
        post = _post(message, place, parent, state, tree)
        posts.append(post)
        replies = message.get("replies") or []
        if not isinstance(replies, list):
            raise BadRequest(f"{place}: replies must be a list, got {type(replies).__name__}")
        waiting += [(reply, post.message_id) for reply in reversed(replies)]
    return posts


def _post(told: Mapping[str, Any], place: str, parent: str | None, state: str | None, tree: str | None) -> Post:
    message_id, role = _text(told, "message_id", place), _text(told, "role", place)
    if role not in ROLES:
        raise BadRequest(f"{place}: role is {role!r:.40}; a message's is prompter or assistant")
    rank = told.get("rank")
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int | float) or rank != rank // 1):
        raise BadRequest(f"{place}: rank is {rank!r:.40}; a whole number or null is needed")
    return Post(
        message_id=message_id,
        parent_id=parent,
        tree=tree or _text_or_none(told, "message_tree_id", place) or message_id,
        role=role,
        text=_text(told, "text", place).strip(),
        lang=_text_or_none(told, "lang", place),
        rank=None if rank is None else int(rank),
        deleted=_flag(told, "deleted", place) is True,
        rejected=_flag(told, "review_result", place) is False,
        state=state,
        place=place,
    )


def _text(told: Mapping[str, Any], name: str, place: str) -> str:
    value = told.get(name)
    if not isinstance(value, str):
        raise BadRequest(f"{place}: {name} must be a text, got {type(value).__name__}")
    return value


def _text_or_none(told: Mapping[str, Any], name: str, place: str) -> str | None:
    return None if told.get(name) is None else _text(told, name, place)


def _flag(told: Mapping[str, Any], name: str, place: str) -> bool | None:
    value = told.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f"{place}: {name} is {value!r:.40}; true, false or null is needed")
    return value
