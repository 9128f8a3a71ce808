"""Tokens offline, dollars from a dated file, and a limit that is never passed."""

from __future__ import annotations

import asyncio
import json
import statistics
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BadRequest
from eval.mtbench.budget import Budget
from eval.mtbench.cache import ReplyCache
from eval.mtbench.cost import Price, estimate, price_of, worst_case
from eval.mtbench.items import Ask
from eval.mtbench.judge import Asked, ask_all
from eval.mtbench.limits import Patience
from eval.mtbench.service import Service
from eval.mtbench.tokens import approximate, counter_for, most_prompt_tokens, prompt_tokens
from tests.eval.mtbench import judge_server as acts
from tests.eval.mtbench.judge_server import JudgeServer, asks

# A dollar for a thousand tokens in, two for a thousand out.
ROUND = Price(model="gpt-4", input_usd=1000.0, output_usd=2000.0, date="2026-01-01", source="https://example.org")
QUICK = Patience(attempts=4, first_s=0.001, longest_s=0.002)


@pytest.fixture
def no_encoding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """tiktoken finds no file, as on a machine without a network."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "empty"))


# Counted with tiktoken's cl100k_base.
COUNTED = [
    ("Compose an engaging travel blog post about a recent trip to Hawaii, highlighting cultural experiences and "
     "must-see attractions.", 22),
    ("def f(x):\n    return {k: v for k, v in x.items() if v > 0}\n", 24),
    ("\u041f\u0440\u0438\u0432\u0435\u0442, \u043a\u0430\u043a \u0434\u0435\u043b\u0430?", 8),
]  # fmt: skip


def test_known_counts_are_met_within_two_fifths() -> None:
    for text, tokens in COUNTED:
        assert 0.7 * tokens <= approximate(text) <= 1.4 * tokens, text


def test_the_stated_error_is_the_measured_one(shared_data: Path) -> None:
    """Against cl100k_base itself, where its file is at hand (TIKTOKEN_CACHE_DIR)."""
    counter = counter_for("gpt-4")
    if counter.name != "cl100k_base":
        pytest.skip("tiktoken has no cl100k_base file here, and downloads are not for tests")
    path = shared_data / "mtbench" / "gpt4_single_judgments.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    true = [counter.count(row["user_prompt"]) for row in rows]
    told = [approximate(row["user_prompt"]) for row in rows]
    ratios = [about / count for about, count in zip(told, true, strict=True)]
    assert sum(told) / sum(true) == pytest.approx(0.997, abs=0.002)
    assert (round(min(ratios), 2), round(max(ratios), 2)) == (0.74, 1.08)
    assert statistics.mean(counter.count(row["judgment"]) for row in rows) == pytest.approx(163, abs=1)
    for row, count in zip(rows, true, strict=True):
        assert count <= len(row["user_prompt"].encode())


def test_the_approximation_says_what_it_is(no_encoding: None) -> None:
    for judge in ("gpt-4", "my-local-judge"):
        assert counter_for(judge).name.startswith("approximated (")


def test_nothing_is_looked_for_in_the_network(no_encoding: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*args: Any) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    cost = estimate(asks(160), price=price_of("gpt-4"))
    assert cost.calls == 160 and cost.prompt_tokens > 0 and cost.low_usd is not None


def test_an_estimate_is_a_sum_over_asks(no_encoding: None) -> None:
    cost = estimate(asks(3), price=ROUND)
    counted = sum(approximate("Be fair.") + approximate(f"Judge answer {k}.") + 2 * 4 + 3 for k in range(3))
    assert (cost.calls, cost.prompt_tokens, cost.price) == (3, counted, ROUND)
    assert cost.low_usd == pytest.approx(counted / 1000 + 3 * 163 * 2 / 1000)
    assert cost.high_usd == pytest.approx(1.37 * counted / 1000 + 3 * 2048 * 2 / 1000)
    batch = estimate(asks(3), price=ROUND, batch=True)
    assert cost.low_usd is not None and batch.low_usd == pytest.approx(cost.low_usd / 2)


def test_an_unknown_price_is_no_price(no_encoding: None) -> None:
    assert price_of("my-local-judge") is None
    cost = estimate(asks(2), price=None)
    assert (cost.calls, cost.low_usd, cost.high_usd) == (2, None, None)
    assert estimate([], price=ROUND).high_usd == 0


def test_the_projects_prices_are_dated_and_have_their_source() -> None:
    path = Path(estimate.__code__.co_filename).with_name("prices.json")
    entries = json.loads(path.read_text())
    assert len({entry["model"] for entry in entries}) == len(entries)
    for entry in entries:
        price = price_of(entry["model"])
        assert price is not None and price == Price(**entry)
        assert date.fromisoformat(price.date) <= date(2026, 11, 21) and price.source.startswith("https://")
        assert price.input_usd <= price.output_usd


def test_a_dated_snapshot_has_the_price_of_its_model_unless_it_has_its_own() -> None:
    def told(judge: str) -> tuple[float, float]:
        price = price_of(judge)
        assert price is not None
        return price.input_usd, price.output_usd

    assert told("gpt-4") == told("gpt-4-0613") == (30, 60)
    assert told("gpt-4o-2024-05-13") == (5, 15) and told("gpt-4o-2024-08-06") == told("gpt-4o") == (2.5, 10)
    assert price_of("gpt-4-unheard-of") is None


@pytest.mark.parametrize(
    "content", ["", "{}", "[3]", '[{"model": "m"}]', '[{"model": "m", "input_usd": -1, "output_usd": 1, "date": '
                '"2026-01-01", "source": ""}]', '[{"model": "m", "input_usd": 1, "output_usd": NaN, "date": '
                '"2026-01-01", "source": ""}]', '[{"model": "m", "input_usd": 1, "output_usd": 1, "date": "soon", '
                '"source": ""}]', None],
)  # fmt: skip
def test_a_price_file_that_is_none_is_one_line(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadRequest, match="input_usd") as caught:
        price_of("m", path)
    assert "\n" not in str(caught.value)


def spend(server: JudgeServer, folder: Path, limit: float, wanted: list[Ask], concurrency: int = 4) -> Asked:
    """Ask within a limit."""
    with ReplyCache.open(folder) as cache:
        service = Service(judge="gpt-4", base_url=server.url, timeout_s=5.0)
        budget = Budget(limit, ROUND)
        return asyncio.run(
            ask_all(wanted, cache=cache, service=service, concurrency=concurrency, budget=budget, patience=QUICK)
        )


# A reply of the server costs 100 and 20 tokens: 0.14 USD. At most it costs that of 2048 tokens: above 4.096 USD.
A_REPLY = 0.14
A_WORST = ROUND.usd(*worst_case(asks(1)[0]))


@pytest.mark.usefixtures("judge_key")
class TestMaxCost:
    """What is spent, as the server's own usage tells it, stays within the limit."""

    @pytest.mark.parametrize("concurrency", [1, 7])
    def test_stops_before_it_is_passed(self, concurrency: int, judge_server: JudgeServer, tmp_path: Path) -> None:
        limit = A_WORST + 9.5 * A_REPLY
        asked = spend(judge_server, tmp_path, limit, asks(30), concurrency)
        assert asked.stopped is not None and "--max-cost" in asked.stopped
        assert len(judge_server.asked) == len(asked.replies) == 10

    def test_is_no_bar_to_what_fits(self, judge_server: JudgeServer, tmp_path: Path) -> None:
        asked = spend(judge_server, tmp_path, A_WORST + 30 * A_REPLY, asks(30), concurrency=8)
        assert asked.stopped is None and len(asked.replies) == 30

    def test_of_less_than_one_request_asks_nothing(self, judge_server: JudgeServer, tmp_path: Path) -> None:
        asked = spend(judge_server, tmp_path, A_WORST - 0.01, asks(3))
        assert asked.stopped is not None and not judge_server.asked

    def test_counts_what_earlier_runs_have_spent(self, judge_server: JudgeServer, tmp_path: Path) -> None:
        limit = A_WORST + 4.5 * A_REPLY
        for _ in range(3):
            spend(judge_server, tmp_path, limit, asks(20))
        assert len(judge_server.asked) == 5
        assert spend(judge_server, tmp_path, limit + 5 * A_REPLY, asks(20)).stopped is not None
        assert len(judge_server.asked) == 10

    def test_takes_a_reply_without_usage_for_the_most_it_can_have_cost(
        self, judge_server: JudgeServer, tmp_path: Path
    ) -> None:
        judge_server.usual = acts.verdict(usage=None)
        spend(judge_server, tmp_path, 2.5 * A_WORST, asks(9), concurrency=1)
        assert len(judge_server.asked) == 2

    def test_takes_a_torn_reply_for_billed_and_an_error_status_for_free(
        self, judge_server: JudgeServer, tmp_path: Path
    ) -> None:
        judge_server.misbehave(acts.torn, acts.status(503))
        spend(judge_server, tmp_path / "torn", 1.5 * A_WORST, asks(1))
        assert len(judge_server.asked) == 1
        judge_server.misbehave(acts.status(429))
        assert spend(judge_server, tmp_path / "free", 1.01 * A_WORST, asks(1)).stopped is None


def test_a_prompt_never_has_more_tokens_than_the_bound(no_encoding: None) -> None:
    ask = replace(asks(1)[0], messages=({"role": "user", "content": "\u00e4\u20ac\U0001f389\ud800 ok"},))
    assert most_prompt_tokens(ask) >= len("\u00e4\u20ac\U0001f389? ok".encode())
    assert prompt_tokens([ask], counter_for("gpt-4")) <= most_prompt_tokens(ask)


def test_an_ask_without_a_limit_has_no_bound() -> None:
    with pytest.raises(ValueError, match="max_tokens"):
        worst_case(replace(asks(1)[0], parameters={}))
    assert worst_case(replace(asks(1)[0], parameters={"max_completion_tokens": 7}))[1] == 7


def test_tiktoken_still_keeps_its_files_where_we_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import base64
    import hashlib

    import tiktoken.load

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    address = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"
    content = b"\n".join(base64.b64encode(bytes([k])) + f" {k}".encode() for k in range(256))
    (tmp_path / hashlib.sha1(address.encode()).hexdigest()).write_bytes(content)
    assert tiktoken.load.read_file_cached(address) == content
