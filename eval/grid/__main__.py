"""python -m eval.grid: many models, tasks, methods, seeds and budgets, here or on many machines, none lost."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from rich.console import Console
from rich.text import Text

from bench.cli import DONE, progress_bar, run
from bench.errors import BadRequest
from bench.record import Record
from bench.request import resolve_device
from eval.campaign import outlook, see_through
from eval.cell import Cell
from eval.desk import Desk, state_of
from eval.ending import exit_code
from eval.grid.cluster import Cluster, Needs, joined
from eval.grid.listing import listed, print_cells, rows_of
from eval.grid.plan import Plan
from eval.grid.words import PROG, glue_command, parse
from eval.launched import Start, leading
from eval.words import desk_of, other_rates

_CLUSTER_WORKERS = 64
_RETRIES = 3


def main(argv: Sequence[str]) -> int:
    """Run the cells, list them; returns the exit code."""
    args = parse(argv)
    return leading(partial(_answer, args, argv), args)


def _answer(args: argparse.Namespace, argv: Sequence[str], start: Start) -> int:
    for word in ("cpus", "gpus", "memory_gib", "retries"):
        if args.ray is None and getattr(args, word) is not None:
            raise BadRequest(f"--{word.replace('_', '-')} is for Ray's tasks; add --ray local or --ray ADDRESS")
    if args.only and args.tune is not None:
        raise BadRequest("--only: which cells a search has is known once it is through; leave it out: none runs twice")
    remote = args.ray not in (None, "local")
    if args.workers is None:
        args.workers = _CLUSTER_WORKERS if remote else 1
    desk = desk_of(args, PROG, argv, start)
    plan = Plan.of(args, _device(args) if args.ray is not None else None)
    if args.dry_run:
        return _dry_run(args, plan, desk)
    plan.check()
    started = datetime.now(UTC)
    told = _ran(args, plan, desk) if args.ray is None else _ran_by_ray(args, plan, desk)
    return _tell(args, argv, plan, told, started)


def _ran_by_ray(args: argparse.Namespace, plan: Plan, desk: Desk) -> dict[str, tuple[str, Record]]:
    needs = _needs(args, desk.threads)
    cluster = Cluster(
        store=desk.store,
        command=desk.command,
        workers=desk.workers,
        threads=needs.cpus,
        fresh=desk.fresh,
        needs=needs,
        waits=args.ray != "local",
    )
    with joined(args.ray, cells=desk.workers, needs=needs):
        return _ran(args, plan, cluster)


def _device(args: argparse.Namespace) -> str:
    """Of Ray's workers, which may have GPUs where this machine has none; cuda is the one that Ray gives a task."""
    if args.device == "auto":
        return "cuda" if args.gpus else "cpu" if args.ray != "local" else resolve_device("auto")
    if args.device not in ("cpu", "cuda"):
        raise BadRequest(f"--device {args.device}: Ray chooses which GPU; give cpu or cuda")
    return str(args.device)


def _needs(args: argparse.Namespace, threads: int) -> Needs:
    cpus = args.cpus if args.cpus is not None else threads if args.ray == "local" else 1
    gpus = args.gpus if args.gpus is not None else float(_device(args) == "cuda")
    for word, value in (("gpus", gpus), ("memory-gib", args.memory_gib)):
        if value is not None and not math.isfinite(value):
            raise BadRequest(f"--{word} {value} is no amount; give a number")
    memory = None if args.memory_gib is None else int(args.memory_gib * 2**30)
    retries = _RETRIES if args.retries is None else args.retries
    return Needs(cpus=cpus, gpus=gpus, memory_bytes=memory, retries=retries)


def _tell(
    args: argparse.Namespace,
    argv: Sequence[str],
    plan: Plan,
    told: Mapping[str, tuple[str, Record]],
    started: datetime,
) -> int:
    commands = [glue_command(args, model, kept) for model in args.model for kept in args.kept]
    _print(args, rows_of(told), commands)
    return exit_code(
        PROG,
        _without_only(argv),
        [record for _, record in told.values()],
        started,
        other_rates=other_rates(plan.entries[0].study),
        quiet=args.quiet,
        keyed=args.tune is None,  # of a search what is to come has no key
        noun="cells",
    )


def _ran(args: argparse.Namespace, plan: Plan, desk: Desk) -> dict[str, tuple[str, Record]]:
    """Key -> name and record."""
    if args.only:
        return _only(args, plan, desk)
    storage = args.storage or str(args.out / "tuning.journal")
    return listed(plan, see_through(plan.entries, desk, storage, quiet=args.quiet))


def _only(args: argparse.Namespace, plan: Plan, desk: Desk) -> dict[str, tuple[str, Record]]:
    with progress_bar(quiet=args.quiet) as progress:
        bar = progress.add_task("fine-tuning", total=None)

        def done(cell: Cell) -> None:
            progress.update(bar, description=cell.name)
            progress.advance(bar)

        return plan.only(desk, args.only, done)


def _without_only(argv: Sequence[str]) -> list[str]:
    """The command line less --only and its keys."""
    if "--only" not in argv:
        return list(argv)
    at = list(argv).index("--only")
    after = next((i for i, word in enumerate(argv) if i > at and word.startswith("--")), len(argv))
    return [*argv[:at], *argv[after:]]


def _dry_run(args: argparse.Namespace, plan: Plan, desk: Desk) -> int:
    """Every cell that can be named, with its key; then roughly how long the rest takes here, one at a time. Of those
    that were asked for by their keys, these alone."""
    rows: list[dict[str, str | None]]
    if args.only:
        chosen = plan.chosen(desk, args.only)
        rows = [{"key": key, "name": name, "state": state_of(desk.known(cell))} for key, (name, cell) in chosen.items()]
    else:
        keys = {name: key for key, (name, _) in plan.cells(desk).items()}
        told = outlook(plan.entries, desk, plan.named)
        rows = [{"key": keys.get(name), "name": name, "state": state} for name, state in told.items()]
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        print("\n".join(f"{row['key'] or '':16}  {row['name']}: {row['state']}" for row in rows))
    return DONE


def _print(args: argparse.Namespace, rows: Sequence[Mapping[str, Any]], commands: Sequence[str]) -> None:
    if args.json:
        print(json.dumps({"cells": list(rows), "compared_by": list(commands)}, indent=2, allow_nan=False))
        return
    console = Console(width=None if sys.stdout.isatty() else 160)
    print_cells(console, rows)
    for command in commands:
        console.print(Text(f"compared by: {command}"), soft_wrap=True)


if __name__ == "__main__":
    run(main, PROG)
