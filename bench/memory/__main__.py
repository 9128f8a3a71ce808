"""``python -m bench.memory``: the memory of each method's train step by category, phase and layer; or predicted."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
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
from bench.effort import about, calibration_flops, prediction_s, seconds, step_flops
from bench.environment import rerun_command
from bench.errors import BadRequest
from bench.memory.snapshot import check_folder, outlook, snapshots
from bench.memory.table import print_memory
from bench.predict import LEFT_OUT, predictable, predicted
from bench.record import Record, Status
from bench.request import Request, check_kept, check_used
from bench.store import Store
from sparsegrad.methods import Method

PROG = "bench.memory"
# Steps that a peak's cell takes, forward and backward.
_STEPS = 4


def parser() -> Parser:
    """The command line."""
    made = Parser(
        prog=PROG,
        description=(
            "Peak memory of one train step of each method, in a fresh process each: over all and within forward,\n"
            "backward and optimizer step, what is alive there by category and by layer, what is saved for backward,\n"
            "and whether memory grows from step to step. Every figure names the instrument that read it, and is kept\n"
            "as a record under --out; the same command goes on where it stopped, and measures nothing twice."
        ),
        example="python -m bench.memory --predict --model llama-2-7b --dtype bf16 --batch-size 2 --max-length 512",
    )
    add_model_words(made)
    add_method_words(made)
    group = made.add_argument_group("memory")
    group.add_argument(
        "--predict", action="store_true", help="compute it from shapes alone: for models that do not fit here"
    )
    group.add_argument("--layers", type=int, default=3, metavar="N", help="largest layers and roles to show of each "
                       "method; the record holds all (default: %(default)s)")  # fmt: skip
    group.add_argument("--snapshot", type=Path, metavar="DIR", help="CUDA: also write METHOD.pickle, two steps of the "
                       "allocator's history for PyTorch's memory viewer (default: none)")  # fmt: skip
    add_run_words(made)
    return made


def main(argv: Sequence[str]) -> int:
    """Measure or predict, record, print; returns the exit code."""
    args = parser().parse_args(argv)
    if args.layers < 0:
        raise BadRequest(f"--layers {args.layers} is no count; give 0 or more")
    if args.predict:
        if args.device not in ("auto", "cpu"):
            raise BadRequest(f"--device {args.device} has no use with --predict, which allocates nothing: leave it out")
        if args.calibration_steps is not None:
            given = f"--calibration-steps {args.calibration_steps}"
            raise BadRequest(f"{given} has no use with --predict, which makes no bases: leave it out")
        if args.snapshot is not None:
            raise BadRequest(
                f"--snapshot {args.snapshot} has no use with --predict, which allocates nothing: leave it out"
            )
        args.random_weights, args.device = True, "cpu"  # nothing but the model's shape is read
    request = request_of(args)
    check_used(request)
    if args.snapshot is not None and not request.device.startswith("cuda"):
        raise BadRequest(
            f"--snapshot {args.snapshot} is the CUDA allocator's history, and this would run on "
            f"{request.device}: give --device cuda where there is a GPU, or leave it out"
        )
    if args.snapshot is not None:
        check_folder(args.snapshot)
    workload = request.workload()
    check_kept(request, workload.outline(), workload)
    asked = request.methods
    request = predictable(request, workload) if args.predict else request
    left_out = [name for name in asked if name not in request.methods]
    store = Store.open(args.out, dry=args.dry_run)
    command = rerun_command(PROG, argv)
    desk = Desk(store=store, request=request, workload=workload, command=command, fresh=args.fresh)
    methods = request.chosen()
    known = {method.name: _known(desk, method, predict=args.predict) for method in methods}
    if args.dry_run:
        told = _plan(desk, known, predict=args.predict) | dict.fromkeys(left_out, LEFT_OUT)
        if args.snapshot is not None:
            told |= outlook(methods, args.snapshot, fresh=args.fresh)
        print(json.dumps(told, indent=2) if args.json else "\n".join(f"{name}: {it}" for name, it in told.items()))
        return DONE
    if left_out:
        say(f"{PROG}: {', '.join(left_out)} left out: {LEFT_OUT}", quiet=args.quiet)
    if all(known.values()):
        say(f"{PROG}: all {len(known)} are {_done(args.predict)} already; --fresh does it again", quiet=args.quiet)
    records = _records(desk, methods, args)
    _print(args, request, records)
    failed = {} if args.snapshot is None else snapshots(desk, methods, args.snapshot)
    for name, reason in failed.items():
        say(f"{PROG}: no snapshot of {name}: {reason}")
    return FAILED if failed or any(record.status is not Status.OK for record in records.values()) else DONE


def _known(desk: Desk, method: Method, *, predict: bool) -> Record | None:
    return desk.known("predicted" if predict else "peak", desk.peak_config(method.name))


def _done(predict: bool) -> str:
    return "predicted" if predict else "measured"


def _plan(desk: Desk, known: Mapping[str, Record | None], *, predict: bool) -> dict[str, str]:
    """What each cell would do, and roughly how long all of it takes."""
    told = {
        name: f"to be {_done(predict)}" if record is None else f"{_done(predict)} already, {record.started[:16]} UTC"
        for name, record in known.items()
    }
    missing = [method for method in desk.request.chosen() if known[method.name] is None]
    each = 0.0 if predict else _STEPS * step_flops(desk.request, desk.workload)
    files = {path: method for method in missing if (path := desk.bases_file(method)) is not None}
    bases = 0 if predict else len([path for path in files if not path.is_file()])
    flops = len(missing) * each + bases * calibration_flops(desk.request, desk.workload)
    spent = seconds(flops, processes=len(missing) + bases, device=desk.request.device)
    return {**told, "time": about(spent + (len(missing) * prediction_s(desk.workload) if predict else 0))}


def _records(desk: Desk, methods: Sequence[Method], args: argparse.Namespace) -> dict[str, Record]:
    records = {}
    with progress_bar(quiet=args.quiet) as progress:
        task = progress.add_task("starting", total=len(methods))
        # Bases that only a known peak was measured with need not be made again; a snapshot takes steps of its own.
        missing = [method for method in methods if _known(desk, method, predict=args.predict) is None or args.snapshot]
        calibrations = (
            {} if args.predict else desk.calibrations(missing, lambda what: progress.update(task, description=what))
        )
        for method in methods:
            progress.update(task, description=method.name)
            if args.predict:
                config = desk.peak_config(method.name)
                records[method.name] = desk.cell("predicted", config, predicted, desk.request, method.name)
            else:
                records[method.name] = desk.peak(method, calibrations.get(method.name))
            progress.advance(task)
    return records


def _print(args: argparse.Namespace, request: Request, records: Mapping[str, Record]) -> None:
    if args.json:
        told: dict[str, Any] = {
            name: {"key": record.key, "status": str(record.status), "reason": record.reason, **record.result}
            for name, record in records.items()
        }
        print(json.dumps(told, indent=2))
        return
    weights = "random weights" if request.random_weights else "pretrained"
    shape = f"batch {request.batch_size} x {request.max_length}, padding {request.padding}, {request.dtype}"
    title = f"{request.model} ({weights}), {shape}, trainable {request.trainable}, kept {request.kept}"
    console = Console(width=None if sys.stdout.isatty() else 140)
    print_memory(console, title, records, layers=args.layers)
    console.print(Text(f"records: {args.out}"), soft_wrap=True)


if __name__ == "__main__":
    run(main, PROG)
