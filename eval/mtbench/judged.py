"""The two things to do with a file of judgments that others made: check them, and measure another judge by them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from bench.cli import DONE, FAILED
from bench.errors import BadRequest
from bench.store import Store
from eval.mtbench.asking import cost_line, cost_of, grade, plan_of
from eval.mtbench.calibration import calibration, known_items
from eval.mtbench.ending import exit_code, print_json
from eval.mtbench.filing import KIND, Filing, rows, sha256
from eval.mtbench.hostile import one_line
from eval.mtbench.labels import labels_of, policies_of
from eval.mtbench.protocol import PUBLISHED_SETS, Protocol, load_protocol
from eval.mtbench.questions import POLICIES
from eval.mtbench.replayed import provenance, replayed
from eval.mtbench.report import calibration_table, print_result, print_tables
from eval.mtbench.service import Service
from eval.mtbench.session import Graded
from eval.mtbench.summary import summarise
from eval.mtbench.verify import Checked, Edition, check, read_judgments

__all__ = ["calibrate", "verify"]

CALIBRATION = "mtbench_calibration"
_TOLD = ("judge", "limit", "repeats", "harden", "fastchat_compat", "seed")
_DEFAULT_SET = "mt-bench"  # what published judgments are about


def verify(args: argparse.Namespace, argv: Sequence[str], started: datetime) -> int:
    """What was reproduced, every exception, and the file's judgments graded as a run of our own, with a record.

    1 where a prompt or FastChat's own score was not reproduced.
    """
    checked, protocol = _checked(args, args.verify_judgments)
    if args.limit is not None:
        asked = {question.question_id for question in protocol.questions[: args.limit]}
        checked = [one for one in checked if one.judgment.question_id in asked]
    counts = {
        "judgments": len(checked),
        "prompts_rebuilt": sum(one.rebuilt for one in checked),
        "fastchat_scores_reproduced": sum(one.fastchat_score is None for one in checked),
        "scores_agreeing": sum(one.score is None for one in checked),
    }
    exceptions = [line for one in checked if (line := _exception(one)) is not None]
    plan = plan_of(args, protocol)
    graded = Graded(grades=replayed(checked, plan), requests=0, stopped=None)
    labels = [*provenance(checked, args.verify_judgments.name), *labels_of(protocol, plan, graded.grades)]
    result = {
        "checked": {**counts, "exceptions": exceptions},
        **summarise(graded.grades, fastchat=plan.fastchat, seed=args.seed),
        "labels": labels,
        "policies": policies_of(protocol, plan),
    }
    record = Filing(
        kind=KIND,
        config={
            "questions": protocol.name,
            "replayed": args.verify_judgments.name,
            **{name: getattr(args, name) for name in _TOLD},
        },
        fingerprints={**protocol.fingerprints, "judgments": sha256(args.verify_judgments)},
        argv=argv,
        seed=args.seed,
        started=started,
    ).file(Store.open(args.out), {**result, "judgments": rows(graded.grades)}, graded)
    if args.json:
        print_json(record, result, graded)
    else:
        console = Console(width=None if sys.stdout.isatty() else 140)
        print_result(console, result)
        for line in (*(f"{name.replace('_', ' ')}: {n:,}" for name, n in counts.items()), *exceptions):
            console.print(Text(line), soft_wrap=True)
        console.print(Text(f"record: {args.out}/{KIND}/{record.key}-*.json"), soft_wrap=True)
    return DONE if all(one.reproduced for one in checked) else FAILED


def calibrate(args: argparse.Namespace, argv: Sequence[str], service: Service, started: datetime) -> int:
    """Rate the answers of the file again, and print how far the judge is from its scores."""
    checked, protocol = _checked(args, args.calibrate)
    asked = {question.question_id for question in protocol.questions[: args.limit]}
    known = [one for one in known_items(checked) if one.item.question.question_id in asked]
    if not known:
        raise BadRequest(f"{str(args.calibrate)!r} has no score whose prompt can be rebuilt; see --verify-judgments")
    plan, items = plan_of(args, protocol), [one.item for one in known]
    store = Store.open(args.out, dry=args.dry_run)
    if args.dry_run:
        cost = cost_of(args, service, [ask for item in items for ask in plan.asks(item)])
        print(json.dumps(asdict(cost), indent=2) if args.json else cost_line(cost))
        return DONE
    graded = grade(args, service, plan, items)
    left_out = len(checked) - len(known)
    policies = [*policies_of(protocol, plan), f"left out (no score, prompt not rebuilt, --limit): {left_out}"]
    measured = calibration(known, graded.grades, seed=args.seed)
    result: dict[str, Any] = {**measured, "labels": labels_of(protocol, plan, graded.grades), "policies": policies}
    record = Filing(
        kind=CALIBRATION,
        config={
            "service": service.host,
            **{name: getattr(args, name) for name in _TOLD},
        },
        fingerprints={**protocol.fingerprints, "judgments": sha256(args.calibrate)},
        argv=argv,
        seed=args.seed,
        started=started,
    ).file(store, {**result, "judgments": rows(graded.grades)}, graded)
    if args.json:
        print_json(record, result, graded)
    else:
        console = Console(width=None if sys.stdout.isatty() else 140)
        print_tables(console, [calibration_table(result)], [*result["labels"], *policies])
        console.print(Text(f"record: {args.out}/{CALIBRATION}/{record.key}-*.json"), soft_wrap=True)
    return exit_code(args, [result], graded)


def _checked(args: argparse.Namespace, path: Path) -> tuple[list[Checked], Protocol]:
    """Every judgment against the references of ``--references``, else of each policy, the set's own first."""
    judgments = read_judgments(path)
    protocols = [
        load_protocol(which, policy=policy, prompts=args.prompts, data_dir=args.data_dir, limit=None)
        for which in [args.questions or _DEFAULT_SET]
        for policy in (
            (args.references,) if args.references else (None, *(POLICIES if which in PUBLISHED_SETS else ()))
        )
    ]
    editions: list[Edition] = [{q.question_id: q for q in protocol.questions} for protocol in protocols]
    return [check(judgment, protocols[0].prompts, editions) for judgment in judgments], protocols[0]


def _exception(one: Checked) -> str | None:
    """Everything about one judgment that is not as in the file; None for one that is."""
    judgment = one.judgment
    reasons = [reason for reason in (one.exception, one.fastchat_score, one.score) if reason is not None]
    place = f"{judgment.place}: question {judgment.question_id}, turn {judgment.turn}, {one_line(judgment.model, 40)}"
    return f"{place}: {'; '.join(reasons)}" if reasons else None
