"""Tables, Markdown and figures from figures alone; hostile names and answers are shown and do nothing."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

import eval.mtbench
from eval.mtbench.asks import Plan
from eval.mtbench.figure import category_bars
from eval.mtbench.hostile import markdown_cell, one_line, visible
from eval.mtbench.items import Answer, Question, Reply
from eval.mtbench.prompts import read_prompts
from eval.mtbench.report import as_markdown, print_result, tables
from eval.mtbench.scoring import grades
from eval.mtbench.side_by_side import side_by_side
from eval.mtbench.summary import summarise

HOSTILE = (
    "<script>alert(1)</script> | x\n\n# h ![i](http://a.b/c) `b` **c** $x^2$ \x1b[31m \u202eabc &lt; @all\n```\n| - |"
)
PLAN = Plan(
    judge="gpt-4",
    prompts=read_prompts(Path(eval.mtbench.__file__).parent / "own" / "judge_prompts.jsonl"),
    repeats=1,
    harden=False,
    fastchat=False,
)


def result_of(name: str, text: str) -> tuple[dict[str, Any], str]:
    """Two models that said ``text``, and were told ``text`` by the judge."""
    questions = [
        Question(question_id=q, category=name, turns=(f"q{q} {text}", "b"), references=(None, None)) for q in range(6)
    ]
    answers = [
        Answer(question_id=q, model=model, choice=0, turns=(text, "y"), endings=("length", "stop"))
        for model in (name, f"{name}2")
        for q in range(6)
    ]
    items = PLAN.items(questions, answers, choices=1)

    def reply(key: str) -> Reply:
        return Reply(key=key, text=f"{text} Rating: [[{1 + int(key, 16) % 10}]]", finish_reason="stop")

    told = grades(items, PLAN, reply)
    result = {**summarise(told), "labels": [f"label {text}"], "policies": ["policy"]}
    return result, side_by_side(items, told)


def test_the_tables_hold_what_was_measured() -> None:
    result, _ = result_of("plain", "words")
    (_, scores), (_, categories), (_, differences) = tables(result)
    assert scores[0] == ["model", "mean", "turn 1", "turn 2", "scored", "if the rest were 1 / 10", "unflagged"]
    assert scores[1][0] == "plain" and scores[1][4:] == ["12/12", scores[1][5], "same"]
    assert [row[0] for row in categories] == ["category", "plain"]
    assert differences[1][:2] == ["plain2", "plain"] and differences[1][2].startswith(("+", "-"))


def test_not_measured_is_never_a_number() -> None:
    result, _ = result_of("plain", "words")
    for model in result["models"]:
        model["mean"] = {"value": None, "low": None, "high": None, "questions": 0}
        model["turns"]["1"] = {"value": 5.0, "low": None, "high": None, "questions": 2}
    assert tables(result)[0][1][1][1:3] == ["n/a", "5.00 (n/a)"]


def test_a_hostile_text_does_nothing_on_a_console() -> None:
    result, _ = result_of("[bold]x[/bold]", HOSTILE)
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    print_result(console, result)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" not in shown and "\u202e" not in shown and "[bold]x[/bold]" in shown


def test_a_hostile_text_is_only_text_in_markdown() -> None:
    result, answers = result_of(HOSTILE, HOSTILE)
    for document in (as_markdown(result), answers):
        rendered = MarkdownIt("commonmark", {"html": False}).enable("table").parse(document)
        kinds = {token.type for block in rendered for token in (block, *(block.children or []))}
        assert kinds <= {
            *("heading_open", "heading_close", "inline", "text", "paragraph_open", "paragraph_close", "softbreak"),
            *("table_open", "table_close", "thead_open", "thead_close", "tbody_open", "tbody_close"),
            *("tr_open", "tr_close", "th_open", "th_close", "td_open", "td_close", "text_special"),
            *("bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close"),
            *("image", "link_open", "link_close", "em_open", "em_close", "strong_open", "strong_close"),
        }
        html = MarkdownIt("commonmark").enable("table").render(document)
        assert "<script" not in html and "http://a.b" not in html.replace("http://a.b/c)", "")
        assert html.count("<img") == document.count("](scores.svg)") and html.count("<h1>") == 1
        assert html.count("<a ") == document.count("](answers.md)")
    assert "alert" in answers and "cut by the token limit" in answers


@given(st.text())
def test_a_cell_renders_as_the_very_text(text: str) -> None:
    """One paragraph, and in it nothing but characters and line breaks."""
    cell = markdown_cell(text)
    assert "\n" not in cell and "|" not in cell
    html = MarkdownIt("commonmark").render(f"x{cell}x")
    inner = html.removeprefix("<p>x").removesuffix("x</p>\n")
    assert "<" not in inner.replace("<br>", "")


def test_what_acts_is_written_out() -> None:
    assert visible("a\x1b[0m\u202e\ud800\tb\nc") == "a\\x1b[0m\\u202e\\ud800\tb\nc"
    assert one_line("a\nb\x07") == "a b\\x07"
    assert len(one_line("x" * 500)) == 200
    assert markdown_cell("  if x:\n\ty") == "&nbsp;&nbsp;if x&#58;<br>&nbsp;&nbsp;&nbsp;&nbsp;y"


def test_the_figures_are_the_same_bytes_each_time() -> None:
    result, _ = result_of("a $x^2$ _model", "words")
    first, second = (category_bars(result, ["<not> comparable"]) for _ in range(2))
    assert first == second and first["png"].startswith(b"\x89PNG")
    assert ElementTree.fromstring(first["svg"]).tag.endswith("svg")


def test_every_model_stands_in_the_legend(monkeypatch: pytest.MonkeyPatch) -> None:
    """matplotlib takes a label that begins with an underscore for none."""
    shown: list[str] = []

    def keep(figure: Any, kind: str) -> bytes:
        shown[:] = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        return b""

    monkeypatch.setattr("eval.mtbench.figure.figure_bytes", keep)
    category_bars(result_of("_hidden", "words")[0], [])
    assert shown == ["_hidden", "_hidden2"]


def test_a_figure_with_nothing_scored_has_no_bars() -> None:
    result, _ = result_of("plain", "words")
    for model in result["models"]:
        model["categories"] = {"plain": {"value": None, "low": None, "high": None, "questions": 0}}
    assert category_bars(result, [])["png"].startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_figure_tells_no_time(kind: str) -> None:
    result, _ = result_of("plain", "words")
    drawn = category_bars(result, [])[kind]
    assert b"date" not in drawn.lower() and b"matplotlib version" not in drawn.lower()
