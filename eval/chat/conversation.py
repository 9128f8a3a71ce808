"""A conversation to learn from: who says what, and which of its replies are learned."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from eval.mtbench.templates import Message

__all__ = ["Conversation", "Corpus", "Role", "Turn", "fingerprint_of", "trees_of"]

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one side says."""

    role: Role
    text: str
    learn: bool = True
    """Of a reply: whether it counts in the loss. Branches of a tree share replies, which one of them alone learns."""


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Turns from a question on, the last of them a reply; a system message may stand before all."""

    tree: str
    """Conversations of one tree are branches of each other, and never stand on both sides of a split."""
    turns: tuple[Turn, ...]

    def messages(self) -> list[Message]:
        """As a template takes them."""
        return [(turn.role, turn.text) for turn in self.turns]


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What a source holds: conversations in its order, and what of it was left out, counted by reason."""

    conversations: tuple[Conversation, ...]
    dropped: Mapping[str, int] = field(default_factory=lambda: MappingProxyType(Counter()))

    def limited(self, limit: int | None) -> Corpus:
        """The conversations of the first `limit` trees; None: all."""
        kept = set(trees_of(self.conversations)[:limit])
        told = tuple(conversation for conversation in self.conversations if conversation.tree in kept)
        return Corpus(conversations=told, dropped=self.dropped)


def trees_of(conversations: Sequence[Conversation]) -> list[str]:
    """Each tree once, in the order of their first conversations."""
    return list(dict.fromkeys(conversation.tree for conversation in conversations))


def fingerprint_of(conversations: Sequence[Conversation]) -> str:
    """16 hex digits of sha256 over trees, roles, texts and what is learned, in order."""
    digest = hashlib.sha256()
    for conversation in conversations:
        turns = [[turn.role, turn.text, turn.learn] for turn in conversation.turns]
        digest.update(json.dumps([conversation.tree, turns]).encode() + b"\n")
    return digest.hexdigest()[:16]
