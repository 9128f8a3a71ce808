"""python -m bench.speed: steps a second, peak memory and setup cost of every method, on one model and text."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from bench.cells import Desk
from bench.cli import (
    DONE,
    FAILED,
    Parser,
    add_method_words,
    add_model_words,
    add_run_words,
    progress_bar,
    request_of,
    run,
    say,
)
from bench.effort import about, calibration_flops, seconds, step_flops
from bench.entrants import Entry
from bench.environment import rerun_command
from bench.race import Race, peaks_of
from bench.record import Record, Status
from bench.request import check_kept, check_used
from bench.rounds import add_round_words, rounds_of
from bench.store import Store
from bench.tables import print_speed, title_of
from sparsegrad.methods import Method

PROG = "bench.speed"
# Of a peak, as `bench.cells` takes them.
_PEAK_STEPS = 4


def parser() -> Parser:
    """The command line."""
    made = Parser(
        prog=PROG,
        description=(
            "Train steps a second, peak memory and setup cost of full fine-tuning, LoRA, MeProp and SparseGrad on\n"
            "one model and text, as ratios to full fine-tuning with 95% confidence intervals. Methods take turns in\n"
            "interleaved rounds; peaks come from a fresh process each. Every figure is kept as a record under --out;\n"
            "the same command goes on where it stopped, and measures nothing twice."
        ),
        example="python -m bench.speed --model bert-base --random-weights --methods lora sparsegrad-sd --rounds 5",
    )
    add_model_words(made)
    add_method_words(made)
    add_round_words(made, rounds=10, steps=2, warmup=2)
    add_run_words(made)
    return made


def main(argv: Sequence[str]) -> int:
    """Measure, record, print; returns the exit code."""
    args = parser().parse_args(argv)
    rounds = rounds_of(args)
    request = request_of(args)
    check_used(request)
    workload = request.workload()
    check_kept(request, workload.outline(), workload)
    desk = Desk(
        store=Store.open(args.out, dry=args.dry_run),
        request=request,
        workload=workload,
        command=rerun_command(PROG, argv),
        fresh=args.fresh,
    )
    config = {**request.config(), **rounds, "drift": args.drift}
    record = desk.known("speed", config)
    if args.dry_run:
        return _dry_run(desk, record, args)
    if record is not None:
        say(f"{PROG}: measured already, {record.started[:16]} UTC; --fresh measures again", quiet=args.quiet)
    else:
        if not request.random_weights:
            workload.build()  # weights that cannot be read are the user's to know, before anything long is run
        record = measure(desk, args, config)
    _print(args, record)
    return DONE if record.status is Status.OK else FAILED


def measure(desk: Desk, args: argparse.Namespace, config: dict[str, Any]) -> Record:
    """The cells of one run: calibration, a peak a method, then the interleaved rounds."""
    methods = desk.request.chosen()
    entries = [Entry(name=method.name, method=method, desk=desk) for method in methods]
    with progress_bar(quiet=args.quiet) as progress, Race(desk=desk, kind="speed", config=config) as race:
        # Units: calibrations, peaks, then warm-up and rounds for each contestant (the baseline twice).
        files = {desk.bases_file(method) for method in methods} - {None}
        units = len(files) + len(methods) + (1 + args.rounds) * (len(methods) + 1)
        task = progress.add_task("starting", total=units)

        def told(what: str) -> None:
            progress.update(task, description=what)
            progress.advance(task)

        calibrations = desk.calibrations(methods, told)
        value = race.run(entries, calibrations, peaks_of(entries, calibrations, told), told)
    return race.file(value)


def _dry_run(desk: Desk, record: Record | None, args: argparse.Namespace) -> int:
    methods = desk.request.chosen()
    users: dict[Path, list[Method]] = {}
    for method in methods:
        if (path := desk.bases_file(method)) is not None:
            users.setdefault(path, []).append(method)
    cells, spent = {}, 0.0
    one = step_flops(desk.request, desk.workload)
    for sharing in users.values():
        names = ", ".join(method.name for method in sharing)
        config = desk.calibration_config(sharing[0])
        known = None if config is None else desk.known("calibration", config)
        cells[f"calibration of {names} ({desk.request.calibration_steps} batches)"] = _state(known)
        spent += 0.0 if known else _seconds(desk, calibration_flops(desk.request, desk.workload), 1)
    for method in methods:
        known = desk.known("peak", desk.peak_config(method.name))
        cells[f"peak memory of {method.name}"] = _state(known)
        spent += 0.0 if known else _seconds(desk, _PEAK_STEPS * one, 1)
    cells[f"speed, {len(methods)} methods and the A/A pair on {desk.workload.name}"] = _state(record)
    steps = (len(methods) + 1) * (args.warmup + args.rounds * args.steps)
    cells["time"] = about(spent + (0.0 if record else _seconds(desk, steps * one, 0)))
    print(json.dumps(cells, indent=2) if args.json else "\n".join(f"{cell}: {state}" for cell, state in cells.items()))
    return DONE


def _seconds(desk: Desk, flops: float, processes: int) -> float:
    return seconds(flops, processes=processes, device=desk.request.device)


def _state(record: Record | None) -> str:
    return "to be measured" if record is None else f"measured already, {record.started[:16]} UTC"


def _print(args: argparse.Namespace, record: Record) -> None:
    if args.json:
        told = {name: getattr(record, name) for name in ("kind", "key", "reason", "command", "config", "environment")}
        print(json.dumps({**told, "status": str(record.status), **record.result}, indent=2))
        return
    console = Console(width=None if sys.stdout.isatty() else 140)
    print_speed(console, title_of(record), record.result)
    console.print(Text(f"record: {args.out}/speed/{record.key}-*.json"), soft_wrap=True)


if __name__ == "__main__":
    run(main, PROG)
