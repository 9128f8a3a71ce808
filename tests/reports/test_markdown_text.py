"""Laws of text in Markdown, by a parser of it: what was written is what is read, nothing acts, words stay."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from eval.mtbench.hostile import visible
from reports.markdown_text import code_span, plain_text

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
MARKUP = "\\`*_{}[]()<>#+-.!|&~:;=$@/^ \n\tab1"
TEXTS = st.text(min_size=1, max_size=30) | st.text(MARKUP, min_size=1, max_size=30)
PLACES = {
    "paragraph": "{}\n",
    "heading": "## {}\n",
    "list": "- {}\n- {}\n",
    "cell": "| a | b |\n| --- | ---: |\n| {} | {} |\n",
    "bold": "**{}**\n",
}


def said(text: str) -> str:
    return visible(" ".join(text.split()))


def leaves(source: str) -> list[Token]:
    """The text of every paragraph, heading or cell that is not the table's head."""
    found = [child for token in PARSER.parse(source) for child in token.children or []]
    return found[2:] if source.startswith("| a | b |") else found


@given(text=TEXTS, place=st.sampled_from(sorted(PLACES)))
@example(text="_a_ __b__ *c* **d** ~~e~~", place="cell")
@example(text="[a](b) <b> ![c](d) `e` &lt; \\\\* ```", place="list")
def test_what_is_written_is_what_is_read(text: str, place: str) -> None:
    if not said(text):
        return
    read = leaves(PLACES[place].format(*[plain_text(text)] * 2))
    kinds = {token.type for token in read}
    assert kinds <= ({"text", "strong_open", "strong_close"} if place == "bold" else {"text"})
    times = PLACES[place].count("{}")
    assert "".join(token.content for token in read) == said(text) * times


@given(text=TEXTS, place=st.sampled_from(["paragraph", "cell"]))
def test_code_is_read_as_code_and_ends_where_it_ends(text: str, place: str) -> None:
    if not said(text):
        return
    read = [token for token in leaves(PLACES[place].format(*[code_span(text)] * 2)) if token.content]
    assert {token.type for token in read} <= ({"text"} if "|" in text else {"code_inline"})
    assert "".join(token.content for token in read) == said(text) * PLACES[place].count("{}")


@pytest.mark.parametrize(
    "text",
    [
        "1.04x [0.98, 1.05], p 0.2; SparseGrad (planned) is 12% faster than full - or is it?",
        "python -m bench.speed --model roberta-base --random-weights --methods lora sparsegrad-sd",
        "sparsegrad-planned, lora_rank=7, dW~ = V g^T x U^T, 2026-01-02T03:04:05, AMD EPYC, 2 threads: ~ 1.0",
        "-0.5 [-1.0, +2.0]",
    ],
)
def test_plain_words_stay_as_they_are(text: str) -> None:
    assert plain_text(text) == text


@pytest.mark.parametrize(
    "text",
    ["<b>", "![a](b)", "[a]: b", "https://a.b", "www.a.b", "a@b.c", ":smile:", "$x$", "[^1]", "~~a~~", "&lt;", "1. a",
     "> a", "- a", "---", "[x] a", "\\*"],
)  # fmt: skip
def test_what_some_reader_of_markdown_acts_on_is_written_out(text: str) -> None:
    assert plain_text(text) != text


def test_a_command_is_a_code_span() -> None:
    assert code_span("python -m x --a '*'") == "`python -m x --a '*'`"
    assert code_span("echo `date`") == "`` echo `date` ``"
    assert code_span("a | b") == "a &#124; b"
