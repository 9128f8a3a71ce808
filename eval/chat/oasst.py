"""OpenAssistant's message trees: messages joined by parent_id, threads read off them, what is left out counted.

A prompt may have several replies, ranked by people: the best one (rank 0) is taken. A reply may have several follow-up
prompts, and each goes on as a thread of its own. Replies that threads share are learned in the first of them alone, so
that none counts twice. (Köpf et al. 2023, arXiv:2304.07327.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from bench.errors import BadRequest
from eval.chat.conversation import Conversation, Corpus, Role, Turn
from eval.chat.posts import Post

__all__ = ["threads"]

_ROLES: Mapping[str, Role] = {"prompter": "user", "assistant": "assistant"}
# What the published data set holds; trees in other states were given up or never finished.
_READY = "ready_for_export"


def threads(posts: Iterable[Post], *, lang: str | None) -> Corpus:
    """The threads of all trees, in the order in which their first messages appear.

    Arguments:
        lang: the language whose messages are kept, such as en; None: all.
    What hangs below a message that is left out goes with it. Raises BadRequest for a message_id that comes twice.
    """
    by_id: dict[str, Post] = {}
    for post in posts:
        if post.message_id in by_id:
            raise BadRequest(
                f"{post.place}: message_id {post.message_id!r:.60} was there before "
                f"({by_id[post.message_id].place}); each message needs its own"
            )
        by_id[post.message_id] = post
    children: dict[str, list[Post]] = {}
    for post in by_id.values():
        if post.parent_id is not None:
            children.setdefault(post.parent_id, []).append(post)
    dropped: Counter[str] = Counter()
    reached: set[str] = set()
    found: list[Conversation] = []
    for post in by_id.values():
        if post.parent_id is None:
            kept = _kept(post, children, lang, dropped, reached)
            found += _read_off(post, kept)
    _count_unreached(by_id, reached, dropped)
    return Corpus(conversations=tuple(found), dropped=dict(dropped))


def _kept(
    root: Post, children: Mapping[str, Sequence[Post]], lang: str | None, dropped: Counter[str], reached: set[str]
) -> dict[str | None, list[Post]]:
    """Parent's id -> its messages that stay, the best first; None -> the root, if it stays."""
    kept: dict[str | None, list[Post]] = {}
    waiting: list[tuple[Post, Post | None, str | None]] = [(root, None, None)]
    while waiting:
        post, parent, above = waiting.pop()
        reached.add(post.message_id)
        reason = _reason(post, parent, lang)
        if reason is not None:
            dropped[reason] += 1
        elif above is not None:
            reason = above
            dropped["below a message that was left out"] += 1
        else:
            kept.setdefault(None if parent is None else parent.message_id, []).append(post)
        waiting += [(child, post, reason) for child in reversed(children.get(post.message_id, ()))]
    for siblings in kept.values():
        # Stable: of equal ranks, and of none, the first in the file; without a rank after all with one.
        siblings.sort(key=lambda post: (post.rank is None, post.rank or 0))
    return kept


def _reason(post: Post, parent: Post | None, lang: str | None) -> str | None:
    """Why a message does not stay; None where it does."""
    if post.state not in (None, _READY):
        return "tree not ready for export"
    if post.deleted:
        return "deleted"
    if post.rejected:
        return "rejected in review"
    if lang is not None and post.lang != lang:
        return "other language"
    if not post.text:
        return "empty"
    if post.role == ("assistant" if parent is None else parent.role):
        return "out of turn"
    return None


def _read_off(root: Post, kept: Mapping[str | None, Sequence[Post]]) -> list[Conversation]:
    """Each way down from the root by best replies, cut after its last reply."""
    found: list[Conversation] = []
    learned: set[str] = set()
    waiting: list[tuple[Post, ...]] = [(root,)] if kept.get(None) else []
    while waiting:
        path = waiting.pop()
        below = kept.get(path[-1].message_id, ())
        if path[-1].role == "assistant":
            followed = [prompt for prompt in below if kept.get(prompt.message_id)]
            if followed:
                waiting += [(*path, prompt) for prompt in reversed(followed)]
                continue
            found.append(_conversation(path, learned))
        elif below:
            waiting.append((*path, below[0]))
    return found


def _conversation(path: Sequence[Post], learned: set[str]) -> Conversation:
    turns = tuple(Turn(role=_ROLES[post.role], text=post.text, learn=post.message_id not in learned) for post in path)
    learned.update(post.message_id for post in path)
    return Conversation(tree=path[0].tree, turns=turns)


def _count_unreached(by_id: Mapping[str, Post], reached: set[str], dropped: Counter[str]) -> None:
    """Messages that no root leads to hang below a parent that is not there, or go round in a circle."""
    told: dict[str, str] = {}
    for start in by_id:
        way: dict[str, None] = {}
        at: str | None = start
        while at is not None and at in by_id and at not in reached and at not in told and at not in way:
            way[at] = None
            at = by_id[at].parent_id
        if way:
            told |= dict.fromkeys(way, told.get(str(at)) or ("in or below a cycle" if at in way else "parent missing"))
    dropped.update(told.values())
