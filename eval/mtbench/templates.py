"""The words a conversation is wrapped in: the tokenizer's own chat template, or one of FastChat's by name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bench.errors import BadRequest
from bench.hub import first_line

__all__ = ["ChatTemplate", "FastChatTemplate", "Message", "Template", "template_for"]

# Role (user, assistant or, first alone, system) and what is said.
Message = tuple[str, str]

# Those that many models were trained with.
_SHARED = ("vicuna_v1.1", "llama-2", "alpaca", "mistral", "zero_shot")


class Template(Protocol):
    """How a conversation becomes one text that the model goes on with."""

    @property
    def name(self) -> str:
        """For a person."""

    @property
    def adds_special_tokens(self) -> bool:
        """Whether the tokenizer is to add its own (<s>), because the text lacks them."""

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """Texts that end an answer, beside the model's end-of-sequence token."""

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that do."""

    def prompt(self, questions: Sequence[str], answers: Sequence[str]) -> str:
        """The text up to where the next answer begins; one question more than answers."""

    def text(self, messages: Sequence[Message], *, open_reply: bool) -> str:
        """The conversation so far; with `open_reply` up to where the next answer begins."""


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """The tokenizer's own, which writes its special tokens itself."""

    tokenizer: Any
    name: str = "the tokenizer's chat template"
    adds_special_tokens: bool = False
    stop_strings: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()

    def prompt(self, questions: Sequence[str], answers: Sequence[str]) -> str:
        """As transformers renders it."""
        return self.text(_in_turns(questions, answers), open_reply=True)

    def text(self, messages: Sequence[Message], *, open_reply: bool) -> str:
        """As transformers renders it."""
        told = [{"role": role, "content": content} for role, content in messages]
        return str(self.tokenizer.apply_chat_template(told, tokenize=False, add_generation_prompt=open_reply))


@dataclass(frozen=True, kw_only=True)
class FastChatTemplate:
    """One of ``fastchat.conversation``'s, used as FastChat's gen_model_answer.py does."""

    name: str
    adds_special_tokens: bool = True

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """FastChat's ``stop_str``: none, one or several."""
        told = self._conversation().stop_str or ()
        return (told,) if isinstance(told, str) else tuple(told)

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """FastChat's ``stop_token_ids``."""
        return tuple(self._conversation().stop_token_ids or ())

    def prompt(self, questions: Sequence[str], answers: Sequence[str]) -> str:
        """As FastChat renders it."""
        return self.text(_in_turns(questions, answers), open_reply=True)

    def text(self, messages: Sequence[Message], *, open_reply: bool) -> str:
        """As FastChat renders it."""
        conversation = self._conversation()
        user, assistant = conversation.roles
        for role, content in messages:
            if role == "system":
                conversation.set_system_message(content)
            else:
                conversation.append_message(user if role == "user" else assistant, content)
        if open_reply:
            conversation.append_message(assistant, None)
        return str(conversation.get_prompt())

    def _conversation(self) -> Any:
        from fastchat.conversation import get_conv_template

        return get_conv_template(self.name)


def template_for(tokenizer: Any, conv_template: str | None, *, model: str) -> Template:
    """FastChat's template of that name, or the tokenizer's own.

    Raises BadRequest for a name FastChat does not know and for a tokenizer without a template, listing close names.
    Nothing stands in for a missing template: a model asked in another's words answers worse, and nobody sees why.
    """
    if conv_template is not None:
        if conv_template not in (known := _fastchat_names()):
            raise BadRequest(f"--conv-template {conv_template!r} is not known; {_nearest(conv_template, known)}")
        return FastChatTemplate(name=conv_template)
    if getattr(tokenizer, "chat_template", None) is None:
        raise BadRequest(
            f"the tokenizer of {model} has no chat template: name one of FastChat's with --conv-template; "
            f"{_nearest(model.rsplit('/', 1)[-1], _fastchat_names())}"
        )
    template = ChatTemplate(tokenizer=tokenizer)
    try:
        template.prompt(["a question", "another"], ["an answer"])
    except Exception as error:
        # The template is a program of the model's author, and may raise whatever it likes.
        raise BadRequest(
            f"the chat template of {model} takes no conversation of two turns ({first_line(error)}); "
            f"give --conv-template NAME"
        ) from error
    return template


def _in_turns(questions: Sequence[str], answers: Sequence[str]) -> list[Message]:
    messages: list[Message] = [("user", questions[0])]
    for answer, question in zip(answers, questions[1:], strict=True):
        messages += [("assistant", answer), ("user", question)]
    return messages


def _fastchat_names() -> list[str]:
    try:
        from fastchat.conversation import conv_templates
    except ImportError as error:
        raise BadRequest("FastChat's templates are not installed: pip install 'sparsegrad[eval]'") from error
    return list(conv_templates)


def _nearest(wanted: str, known: Sequence[str]) -> str:
    """A few names to choose from: like the one wanted, or else those that many models share."""
    close = difflib.get_close_matches(wanted.lower(), known, n=6, cutoff=0.35)
    return f"close: {', '.join(close)}" if close else f"such as {', '.join(_SHARED)}"
