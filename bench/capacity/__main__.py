"""``python -m bench.capacity``: the largest batch, or the longest input, that each method trains within a budget."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from rich.console import Console
from rich.text import Text

from bench.capacity.budget import parse_budget
from bench.capacity.cells import Search, capacity, longest
from bench.capacity.probe import LEAST_LENGTH, full_rows
from bench.capacity.speed import STEPS
from bench.capacity.table import print_capacity
from bench.cells import Desk
from bench.cli import (
    DONE,
    FAILED,
    Parser,
    add_method_words,
    add_model_words,
    add_run_words,
    given,
    progress_bar,
    request_of,
    run,
    say,
)
from bench.drift import add_drift_words
from bench.effort import about, calibration_flops, prediction_s, seconds, step_flops
from bench.environment import rerun_command
from bench.errors import BadRequest
from bench.lengths import DEFAULT_LENGTHS
from bench.predict import LEFT_OUT, predictable
from bench.record import Record, Status
from bench.request import Request, check_kept, check_used
from bench.store import Store
from bench.tables import mebibytes

PROG = "bench.capacity"
_CPU_BUDGET = "512MiB"
# Probes a search takes as a rule, and steps that one takes to measure.
_PROBES, _STEPS = 5, 6


def parser() -> Parser:
    """The command line."""
    made = Parser(
        prog=PROG,
        description=(
            "The largest batch at a length, or the longest input at a batch size, that each method trains within a\n"
            "memory budget, by doubling and bisection: the size itself fits, the next does not. With --budget, and\n"
            "without a GPU, peaks are predicted on tensors without data (bench.memory --predict); on CUDA without\n"
            "--budget they are measured on the GPU's own memory, and running out of it is the answer. Rows are full\n"
            "but for one token. Every probe is a record under --out: the same command goes on where it stopped."
        ),
        example="python -m bench.capacity --budget 24GiB --model llama-2-7b --dtype bf16 --find length --batch-size 1",
    )
    add_model_words(made)
    add_method_words(made)
    group = made.add_argument_group("capacity")
    group.add_argument("--find", choices=("batch", "length"), default="batch", help="batch: the most examples at "
                       "--max-length; length: the most tokens at --batch-size, up to the model's positions "
                       "(default: %(default)s)")  # fmt: skip
    group.add_argument("--budget", metavar="SIZE", help="memory to train within, such as 24GiB, 512MiB or 80GB "
                       f"(default: {_CPU_BUDGET}; on CUDA the GPU's own, measured)")  # fmt: skip
    group.add_argument("--time", action=argparse.BooleanOptionalAction, help="time steps at the largest size, here, "
                       "where it fits: a mean with its 95%% interval (default: without --budget, since with one it is "
                       "mostly another machine that is asked for)")  # fmt: skip
    add_drift_words(group)
    add_run_words(made)
    return made


def main(argv: Sequence[str]) -> int:
    """Search, record, print; returns the exit code."""
    args = parser().parse_args(argv)
    _refuse_unused(args, argv)
    request = request_of(args)
    check_used(request)
    predicts = _predicts(args, request)
    # A prediction reads nothing but the model's shape, and steps take as long with any weights.
    request = replace(request, random_weights=request.random_weights or predicts)
    length = request.max_length if args.find == "batch" else min(request.max_length, _positions(request))
    request = full_rows(request, length)  # where a length is looked for: what bases are calibrated on
    search = Search(
        find=args.find,
        fixed=request.max_length if args.find == "batch" else request.batch_size,
        budget_bytes=parse_budget(args.budget or _CPU_BUDGET) if predicts else _gpu_bytes(request),
        predicts=predicts,
        times=args.budget is None if args.time is None else args.time,
        drift=args.drift,
    )
    if not search.times and given(argv, "--drift"):
        raise BadRequest(f"--drift {args.drift} is of timed steps, and none are timed: give --time, or leave it out")
    if not search.times and args.calibration_steps is not None:
        raise BadRequest(
            f"--calibration-steps {args.calibration_steps} has no use where peaks are predicted, without bases, and no "
            "steps are timed: give --time, or leave it out"
        )
    workload = request.workload()
    check_kept(request, workload.outline(), workload)
    asked = request.methods
    request = predictable(request, workload) if predicts else request
    left_out = [name for name in asked if name not in request.methods]
    store = Store.open(args.out, dry=args.dry_run)
    command = rerun_command(PROG, argv)
    desk = Desk(store=store, request=request, workload=workload, command=command, fresh=args.fresh)
    if args.dry_run:
        told = _plan(desk, search) | dict.fromkeys(left_out, LEFT_OUT)
        print(json.dumps(told, indent=2) if args.json else "\n".join(f"{name}: {it}" for name, it in told.items()))
        return DONE
    if left_out:
        say(f"{PROG}: {', '.join(left_out)} left out: {LEFT_OUT}", quiet=args.quiet)
    records = _records(desk, search, quiet=args.quiet)
    _print(args, request, search, records)
    return DONE if all(record.status is Status.OK for record in records.values()) else FAILED


def _refuse_unused(args: argparse.Namespace, argv: Sequence[str]) -> None:
    """BadRequest for what would be ignored: the size that is looked for, and text, since every row is full."""
    sought = "--batch-size" if args.find == "batch" else "--max-length"
    if given(argv, sought):
        other = {"--batch-size": "--find length", "--max-length": "--find batch"}[sought]
        raise BadRequest(f"{sought} is what --find {args.find} looks for: leave it out, or give {other}")
    useless = {"--task": args.task, "--data-dir": args.data_dir, "--tokenizer": args.tokenizer, "--limit": args.limit}
    for option, value in useless.items():
        if value is not None:
            raise BadRequest(f"{option} {value} has no use here, where every row is as long as can be: leave it out")
    if args.lengths != str(DEFAULT_LENGTHS) or args.padding != "max":
        raise BadRequest(
            "--lengths and --padding have no use here, where every row is as long as can be: leave them out"
        )
    if args.max_length < LEAST_LENGTH:
        raise BadRequest(f"--max-length {args.max_length} is too small; give {LEAST_LENGTH} or more")


def _predicts(args: argparse.Namespace, request: Request) -> bool:
    """Whether peaks are predicted: a budget is a number, and a GPU's own memory can be tried."""
    return args.budget is not None or request.device == "cpu"


def _positions(request: Request) -> int:
    """The longest input there can be."""
    return longest(full_rows(request, LEAST_LENGTH).workload())[0]


def _gpu_bytes(request: Request) -> int:
    """All of the GPU's memory: where it ends the allocator says so."""
    return torch.cuda.get_device_properties(request.place()).total_memory


def _plan(desk: Desk, search: Search) -> dict[str, str]:
    """What would be searched, and roughly how long all of it takes."""
    told, missing = {}, []
    for method in desk.request.chosen():
        known = desk.known("capacity", search.config(desk, method.name))
        told[method.name] = "to be searched" if known is None else f"searched already, {known.started[:16]} UTC"
        missing += [method] if known is None else []
    if search.predicts:
        spent = len(missing) * _PROBES * prediction_s(desk.workload)
    else:
        spent = (
            len(missing)
            * _PROBES
            * seconds(_STEPS * step_flops(desk.request, desk.workload), processes=1, device="cuda")
        )
    if search.times:
        files = {path for method in missing if (path := desk.bases_file(method)) is not None and not path.is_file()}
        flops = len(files) * calibration_flops(desk.request, desk.workload)
        spent += seconds(flops, processes=len(files) + len(missing), device=desk.request.device)
    timed = f", and {STEPS} steps of each method at the size it finds" if search.times and missing else ""
    return {**told, "time": about(spent) + timed}


def _records(desk: Desk, search: Search, *, quiet: bool) -> dict[str, Record]:
    methods = desk.request.chosen()
    known = {method.name: desk.known("capacity", search.config(desk, method.name)) for method in methods}
    if all(known.values()):
        say(f"{PROG}: all {len(known)} are searched already; --fresh does it again", quiet=quiet)
    records = {}
    with progress_bar(quiet=quiet) as progress:
        task = progress.add_task("starting", total=len(methods))

        def told(what: str) -> None:
            progress.update(task, description=what)

        missing = [method for method in methods if known[method.name] is None]
        # Bases are of no account to a prediction, and cost time: made where steps are really taken.
        calibrations = desk.calibrations(missing, told) if search.times else {}
        for method in methods:
            records[method.name] = known[method.name] or capacity(
                desk, search, method, calibrations.get(method.name), told
            )
            progress.advance(task)
    return records


def _print(args: argparse.Namespace, request: Request, search: Search, records: Mapping[str, Record]) -> None:
    if args.json:
        asked = {"find": search.find, "fixed": search.fixed, "budget_bytes": search.budget_bytes}
        told = {
            name: {"key": record.key, "status": str(record.status), "reason": record.reason, **asked, **record.result}
            for name, record in records.items()
        }
        print(json.dumps(told, indent=2))
        return
    what = {
        "batch": f"largest batch of {search.fixed} tokens",
        "length": f"longest input at batch {search.fixed}",
    }[search.find]
    weights = "random weights" if request.random_weights else "pretrained"
    how = f"{request.dtype}, trainable {request.trainable}, kept {request.kept}"
    title = f"{request.model} ({weights}), {what} within {mebibytes(search.budget_bytes)}; {how}"
    console = Console(width=None if sys.stdout.isatty() else 140)
    print_capacity(console, title, search, records)
    console.print(Text(f"records: {args.out}"), soft_wrap=True)


if __name__ == "__main__":
    run(main, PROG)
