"""A conversation as the tokens a model sees, and which of them count: those of the replies, and the end of each.

The template renders the conversation whole, and again up to each reply, open: where the open text ends, the reply
begins. A reply ends with the first special token (or stop text of the template) behind it: what a model has to write to
be heard and to fall silent, and nothing of what the template adds after that. Tokens are the whole text's, so that no
piece is tokenized otherwise than a prompt of the same words would be.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.errors import BadRequest
from bench.hub import first_line
from eval.chat.conversation import Conversation
from eval.mtbench.hostile import one_line
from eval.mtbench.templates import Template

__all__ = ["IGNORED", "Rendered", "Rendering"]

# What torch's cross entropy leaves out.
IGNORED = -100


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """One conversation, T tokens: ids, and the id or IGNORED where a token does not count."""

    tree: str
    input_ids: list[int]
    labels: list[int]

    @property
    def counted(self) -> int:
        """Tokens in the loss; the first of a text is foretold by nothing."""
        return sum(label != IGNORED for label in self.labels[1:])


class Rendering:
    """A tokenizer and the words it is wrapped in.

    Raises BadRequest for a tokenizer that does not tell which characters its tokens stand for.
    """

    def __init__(self, tokenizer: Any, template: Template, *, max_length: int) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise BadRequest("the tokenizer does not say where its tokens stand; give one with a tokenizer.json")
        self.tokenizer = tokenizer
        self.template = template
        self.max_length = max_length
        added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        self._special = sorted({*tokenizer.all_special_tokens, *added} - {""}, key=len, reverse=True)
        marks = [*self._special, *template.stop_strings]
        self._marks = re.compile("|".join(map(re.escape, marks))) if marks else None

    def rendered(self, conversations: Sequence[Conversation]) -> tuple[list[Rendered], dict[str, int]]:
        """Those that have something to learn from, and how many were left out or cut short, by reason."""
        counts: Counter[str] = Counter()
        found: list[Rendered] = []
        for conversation in conversations:
            if any(token in turn.text for token in self._special for turn in conversation.turns):
                # As text it would become the token itself: somebody's words could end a turn and speak for another.
                counts["holds the text of a special token"] += 1
                continue
            whole = self._render(conversation)
            cut = Rendered(
                tree=whole.tree,
                input_ids=whole.input_ids[: self.max_length],
                labels=whole.labels[: self.max_length],
            )
            counts["cut at the maximum length"] += len(cut.input_ids) < len(whole.input_ids) and cut.counted > 0
            counts["no reply within the maximum length"] += cut.counted == 0
            if cut.counted:
                found.append(cut)
        return found, {reason: count for reason, count in counts.items() if count}

    def _render(self, conversation: Conversation) -> Rendered:
        text, spans = self.spans(conversation)
        told = self.tokenizer(
            text,
            add_special_tokens=self.template.adds_special_tokens,
            return_offsets_mapping=True,
            return_attention_mask=False,
            verbose=False,
        )
        labels = [IGNORED] * len(told["input_ids"])
        at = 0
        for index, (_, end) in enumerate(told["offset_mapping"]):
            # By where a token ends: one that begins with the prompt's last character still carries the reply's first.
            while at < len(spans) and spans[at][1] < end:
                at += 1
            if at < len(spans) and spans[at][0] < end:
                labels[index] = told["input_ids"][index]
        return Rendered(tree=conversation.tree, input_ids=list(told["input_ids"]), labels=labels)

    def spans(self, conversation: Conversation) -> tuple[str, list[tuple[int, int]]]:
        """The whole text, and from where to where in it each reply stands that is to be learned, its end included.

        Raises BadRequest where the template takes no such conversation, writes earlier turns otherwise once others
        follow, or ends a reply with nothing that a model could stop at.
        """
        messages = conversation.messages()
        whole = self._text(messages, open_reply=False)
        ending: str | None = None
        spans: list[tuple[int, int]] = []
        # Backwards: behind the last reply nothing else stands that could be taken for its end.
        for at in reversed(range(len(messages))):
            turn = conversation.turns[at]
            if turn.role != "assistant":
                continue
            begin, end = self._place(whole, self._text(messages[:at], open_reply=True), turn.text)
            if ending is None:
                ending = self._ending(whole[end:])
            elif not whole.startswith(ending, end):
                raise BadRequest(
                    f"{self.template.name} ends the last reply otherwise than earlier ones; give --conv-template NAME"
                )
            if turn.learn:
                spans.append((begin, end + len(ending)))
        return whole, spans[::-1]

    def _place(self, whole: str, before: str, reply: str) -> tuple[int, int]:
        """From the first character that the model is to write to the last of the reply."""
        at = whole.find(reply, len(before)) if whole.startswith(before) else -1
        # What stands before the reply, as the space after "ASSISTANT:", is the model's to write; words are not.
        if at < 0 or whole[len(before) : at].strip():
            raise BadRequest(
                f"{self.template.name} writes a conversation otherwise once a reply follows, or the reply otherwise "
                "than it is, so that its tokens cannot be told; give --conv-template NAME"
            )
        return len(before), at + len(reply)

    def _ending(self, rest: str) -> str:
        found = self._marks.search(rest) if self._marks is not None else None
        if found is None:
            raise BadRequest(
                f"{self.template.name} ends a reply with no special token and no stop text, so that a model would "
                "never learn to end; give --conv-template NAME"
            )
        return rest[: found.end()]

    def _text(self, messages: Sequence[tuple[str, str]], *, open_reply: bool) -> str:
        try:
            return self.template.text(messages, open_reply=open_reply)
        except Exception as error:
            roles = one_line(", ".join(role for role, _ in messages), 80)
            # The template is a program of the model's author, and may raise and say whatever it likes.
            raise BadRequest(
                f"{self.template.name} takes no conversation of {roles} ({one_line(first_line(error))}); "
                "give --conv-template NAME"
            ) from error
