"""``python -m bench.memory``: the peak memory of each method's train step, by phase; measured, or predicted."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
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
)
from bench.environment import rerun_command
from bench.predict import predict_peak
from bench.record import Record, Status
from bench.request import Request, check_kept
from bench.rows import BASELINE
from bench.store import Store
from bench.tables import count, mebibytes
from bench.train import PHASES
from sparsegrad.methods import METHODS, Method

PROG = "bench.memory"
_MEANING = {
    "tracked": "tracked peak of live tensor storages (no GPU: not CUDA memory, not the process's size), each method in "
    "a fresh process",
    "predicted": "predicted on tensors without data: the tracked peak with every token active; nothing was allocated",
}


def parser() -> Parser:
    """The command line."""
    made = Parser(
        prog=PROG,
        description=(
            "Peak memory of one train step of each method, over all and within forward, backward and optimizer step."
        ),
        example="python -m bench.memory --predict --model llama-2-7b --dtype bf16 --batch-size 2 --max-length 512",
    )
    add_model_words(made)
    add_method_words(made)
    made.add_argument_group("memory").add_argument(
        "--predict", action="store_true", help="compute the peak from shapes alone: for models that do not fit here"
    )
    add_run_words(made)
    return made


def main(argv: Sequence[str]) -> int:
    """Measure or predict, record, print; returns the exit code."""
    args = parser().parse_args(argv)
    if args.predict:
        args.random_weights, args.device = True, "cpu"  # nothing but the model's shape is read
    request = request_of(args)
    workload = request.workload()
    check_kept(request, workload.outline(), workload)
    store = Store.open(args.out)
    command = rerun_command(PROG, argv)
    desk = Desk(store=store, request=request, workload=workload, command=command, fresh=args.fresh)
    methods = request.chosen()
    if args.dry_run:
        told = {method.name: _state(desk, method, predict=args.predict) for method in methods}
        print(json.dumps(told, indent=2) if args.json else "\n".join(f"{name}: {it}" for name, it in told.items()))
        return DONE
    records = _records(desk, methods, args)
    _print(args, request, records)
    return DONE if all(record.status is Status.OK for record in records.values()) else FAILED


def _state(desk: Desk, method: Method, *, predict: bool) -> str:
    known = desk.known("predicted" if predict else "peak", desk.peak_config(method.name))
    return "to be measured" if known is None else f"measured already, {known.started[:16]} UTC"


def _records(desk: Desk, methods: Sequence[Method], args: argparse.Namespace) -> dict[str, Record]:
    records = {}
    with progress_bar(quiet=args.quiet) as progress:
        task = progress.add_task("starting", total=len(methods))
        calibrations = (
            {} if args.predict else desk.calibrations(methods, lambda what: progress.update(task, description=what))
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


def predicted(request: Request, method: str) -> dict[str, Any]:
    """What ``predict_peak`` tells of one method: runs in a fresh process."""
    return predict_peak(request, METHODS[method], request.workload())


def _print(args: argparse.Namespace, request: Request, records: Mapping[str, Record]) -> None:
    if args.json:
        told = {
            name: {"key": record.key, "status": str(record.status), "reason": record.reason, **record.result}
            for name, record in records.items()
        }
        print(json.dumps(told, indent=2))
        return
    weights = "random weights" if request.random_weights else "pretrained"
    shape = f"batch {request.batch_size} x {request.max_length}, padding {request.padding}, {request.dtype}"
    title = f"{request.model} ({weights}), {shape}, trainable {request.trainable}, kept {request.kept}"
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(_table(title, records))
    for instrument in sorted({r.result["instrument"] for r in records.values() if r.status is Status.OK}):
        console.print(Text(f"peak: {_MEANING.get(instrument, instrument)}."), soft_wrap=True)
    for name, record in records.items():
        if record.status is not Status.OK:
            console.print(Text(f"{name}: {record.status}: {record.reason}"), soft_wrap=True)
    console.print(Text(f"records: {args.out}"), soft_wrap=True)


def _table(title: str, records: Mapping[str, Record]) -> Table:
    table = Table(title=Text(title), title_justify="left", pad_edge=False)
    table.add_column("method", no_wrap=True)
    for name in ("peak", "vs full", *PHASES, "trainable", "updated", "adapter"):
        table.add_column(name, justify="right", no_wrap=True)
    full = records[BASELINE]
    for name, record in records.items():
        read = record.result
        if record.status is not Status.OK:
            table.add_row(Text(name), Text(str(record.status)))
            continue
        ratio = f"{read['peak_bytes'] / full.result['peak_bytes']:.3f}x" if full.status is Status.OK else "n/a"
        phases = [mebibytes(read["by_phase_bytes"][phase]) for phase in PHASES]
        counts = [count(read["trainable_parameters"]), count(read["updated_parameters"])]
        table.add_row(name, mebibytes(read["peak_bytes"]), ratio, *phases, *counts, mebibytes(read["adapter_bytes"]))
    return table


if __name__ == "__main__":
    run(main, PROG)
