"""python -m eval.mtbench: a model's answers to MT-Bench, rated by a judge, with what the rating is worth."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from bench.cli import DONE, run, say
from bench.store import Store
from eval.mtbench.answering import answers_of, answers_or_stand_ins
from eval.mtbench.asking import budget_of, cost_line, cost_of, grade, plan_of, replies_of
from eval.mtbench.asks import PARAMETERS, Item, Plan
from eval.mtbench.cache import ReplyCache
from eval.mtbench.ending import exit_code, print_json
from eval.mtbench.export import fastchat_judgments
from eval.mtbench.figure import category_bars
from eval.mtbench.filing import KIND, Filing, rows, sha256, write_report
from eval.mtbench.judged import calibrate, verify
from eval.mtbench.labels import labels_of, policies_of
from eval.mtbench.preflight import preflight
from eval.mtbench.protocol import Protocol, load_protocol
from eval.mtbench.report import as_markdown, print_result
from eval.mtbench.scoring import Grade
from eval.mtbench.service import Service
from eval.mtbench.side_by_side import side_by_side
from eval.mtbench.summary import summarise
from eval.mtbench.words import PROG, check, parser


def main(argv: Sequence[str]) -> int:
    """What the words ask for; returns the exit code."""
    args = parser().parse_args(argv)
    check(args)
    started = datetime.now(UTC)
    if args.verify_judgments is not None:
        return verify(args, argv, started)
    budget_of(args)  # a price that is not known is the user's to know before an hour of generating
    service = Service.from_environment(args.judge, args.judge_base_url)
    if not (args.replay or args.dry_run):
        # Before anything is written, fetched or generated: a judge that does not answer costs nobody an hour.
        service.check_key()
        ReplyCache.check_free(replies_of(args))
        asyncio.run(preflight(service))
    if args.calibrate is not None:
        return calibrate(args, argv, service, started)
    protocol = _protocol(args)
    if args.dry_run:
        Store.open(args.out, dry=True)
        return _dry_run(args, service, protocol)
    return _report(args, argv, service, protocol, started)


def _protocol(args: argparse.Namespace) -> Protocol:
    protocol = load_protocol(
        args.questions, policy=args.references, prompts=args.prompts, data_dir=args.data_dir, limit=args.limit
    )
    if args.questions is None and protocol.name == "own":
        say(
            f"{PROG}: MT-Bench Inf is not at hand and its address does not answer: the project's own 16 questions are "
            "taken instead, which are not the published protocol; --data-dir DIR gives the published files"
        )
    return protocol


def _dry_run(args: argparse.Namespace, service: Service, protocol: Protocol) -> int:
    """Calls, tokens and price; nothing is asked, written or generated."""
    plan = plan_of(args, protocol)
    answers, notes = answers_or_stand_ins(args, protocol)
    items = plan.items(protocol.questions, answers, args.choices)
    cost = cost_of(args, service, [ask for item in items for ask in plan.asks(item)])
    said = [*notes, *protocol.labels]
    print(json.dumps({**asdict(cost), "notes": said}, indent=2) if args.json else "\n".join([cost_line(cost), *said]))
    return DONE


def _report(
    args: argparse.Namespace, argv: Sequence[str], service: Service, protocol: Protocol, started: datetime
) -> int:
    """Answer, ask, grade, file, print."""
    plan = plan_of(args, protocol)
    answers, paths = answers_of(args, protocol)
    items = plan.items(protocol.questions, answers, args.choices)
    store = Store.open(args.out)
    graded = grade(args, service, plan, items)
    result = _result(protocol, plan, graded.grades, seed=args.seed)
    record = Filing(
        kind=KIND,
        config=_config(args, service, protocol),
        fingerprints={**protocol.fingerprints, **{f"answers_{k}": sha256(path) for k, path in enumerate(paths)}},
        argv=argv,
        seed=args.seed,
        started=started,
    ).file(store, {**result, "judgments": rows(graded.grades)}, graded)
    folder = Path(args.out) / KIND / record.key
    write_report(folder, _files(result, plan, items, graded.grades))
    if args.json:
        print_json(record, {**result, "report": str(folder)}, graded)
    else:
        console = Console(width=None if sys.stdout.isatty() else 140)
        print_result(console, result)
        console.print(Text(f"report: {folder}/report.md"), soft_wrap=True)
    return exit_code(args, result["models"], graded)


def _result(protocol: Protocol, plan: Plan, grades: Sequence[Grade], *, seed: int) -> dict[str, Any]:
    """The figures and what must be said beside them."""
    return {
        **summarise(grades, fastchat=plan.fastchat, seed=seed),
        "labels": labels_of(protocol, plan, grades),
        "policies": policies_of(protocol, plan),
    }


def _config(args: argparse.Namespace, service: Service, protocol: Protocol) -> dict[str, Any]:
    """What the result depends on beside files and replies."""
    told = ("judge", "limit", "choices", "repeats", "harden", "fastchat_compat", "seed")
    named = {"questions": protocol.name, "references": protocol.policy, "prompts": protocol.prompts_name}
    named["service"] = service.host
    return {**{name: getattr(args, name) for name in told}, **named, "parameters": dict(PARAMETERS)}


def _files(result: dict[str, Any], plan: Plan, items: Sequence[Item], grades: Sequence[Grade]) -> dict[str, bytes]:
    """Name -> content of everything a reader is given."""
    return {
        "report.md": as_markdown(result).encode(),
        "answers.md": side_by_side(items, grades).encode(),
        "judgments.jsonl": fastchat_judgments(plan, items, grades).encode(),
        **{f"scores.{kind}": drawn for kind, drawn in category_bars(result, result["labels"]).items()},
    }


if __name__ == "__main__":
    run(main, PROG)
