"""The judge as a command uses it: asked live or in a batch, within a budget, or read from the replies that are kept."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

from bench.cli import progress_bar, say
from bench.errors import BadRequest
from eval.mtbench.asks import Item, Plan
from eval.mtbench.budget import Budget
from eval.mtbench.cache import ReplyCache
from eval.mtbench.cost import Cost, Price, estimate, price_of
from eval.mtbench.hostile import one_line
from eval.mtbench.items import Ask
from eval.mtbench.judge import Asked, ask_all, split
from eval.mtbench.protocol import Protocol
from eval.mtbench.service import Service
from eval.mtbench.session import Asking, Graded, judge

__all__ = ["budget_of", "cost_line", "cost_of", "grade", "plan_of", "replies_of"]


def plan_of(args: argparse.Namespace, protocol: Protocol) -> Plan:
    """How items become requests."""
    return Plan(
        judge=args.judge,
        prompts=protocol.prompts,
        repeats=args.repeats,
        harden=args.harden,
        fastchat=args.fastchat_compat,
    )


def grade(args: argparse.Namespace, service: Service, plan: Plan, items: Sequence[Item]) -> Graded:
    """Everything graded; with ``--replay`` from the replies of ``service`` that are kept."""
    folder = replies_of(args)
    with ReplyCache.read(folder) if args.replay else ReplyCache.open(folder) as cache:
        for damage in cache.damaged:
            say(f"{folder}: line {damage.line} is passed over: {damage.reason}", quiet=args.quiet)
        ask = None if args.replay else _asking(args, service, cache)
        graded = judge(items, plan, lambda key: cache.get(key, service.host), ask)
    if not args.replay:
        say(f"{graded.requests} requests to {one_line(args.judge, 60)}; the replies are kept", quiet=args.quiet)
    return graded


def budget_of(args: argparse.Namespace) -> Budget | None:
    """What ``--max-cost`` sets; BadRequest where the price it is to watch is not known."""
    if args.max_cost is None:
        return None
    price = _price(args)
    if price is None:
        raise BadRequest(f"--max-cost: the price of {args.judge} is not known; give --prices FILE that has it")
    return Budget(args.max_cost, price, batch=args.batch_api)


def _price(args: argparse.Namespace) -> Price | None:
    return price_of(args.judge) if args.prices is None else price_of(args.judge, args.prices)


def replies_of(args: argparse.Namespace) -> Path:
    """Where replies are kept."""
    return Path(args.out) / "mtbench" / "replies"


def _asking(args: argparse.Namespace, service: Service, cache: ReplyCache) -> Asking:
    """How requests are put to ``service``."""
    budget = budget_of(args)

    def ask(asks: Sequence[Ask]) -> Asked:
        with progress_bar(quiet=args.quiet) as bar:
            task = bar.add_task("ratings", total=len(asks))
            if args.batch_api:
                from eval.mtbench.batch import ask_in_batch

                batch = ask_in_batch(
                    asks,
                    cache=cache,
                    service=service,
                    budget=budget,
                    say=lambda line: say(line, quiet=args.quiet),
                    progress=lambda reply: bar.advance(task),
                )
                return asyncio.run(batch)
            live = ask_all(
                asks,
                cache=cache,
                service=service,
                concurrency=args.concurrency,
                budget=budget,
                progress=lambda reply: bar.advance(task),
            )
            return asyncio.run(live)

    return ask


def cost_of(args: argparse.Namespace, service: Service, asks: Sequence[Ask]) -> Cost:
    """What ``service`` is still to be asked, at the price that is known."""
    _, waiting = split(asks, ReplyCache.read(replies_of(args)), service)
    return estimate(waiting, price=_price(args), batch=args.batch_api)


def cost_line(cost: Cost) -> str:
    """The estimate in a line; an unknown price says so."""
    calls = f"{cost.calls:,} calls, {cost.prompt_tokens:,} prompt tokens ({cost.counted_by})"
    if cost.price is None or cost.low_usd is None or cost.high_usd is None:
        return f"{calls}; the judge's price is not known: give --prices FILE"
    batch = ", Batch API" if cost.batch else ""
    return f"{calls}; {cost.low_usd:.2f} to {cost.high_usd:.2f} USD (prices of {cost.price.date}{batch})"
