"""``python -m bench.gradients``: energy, supports and stripes of MLP gradients, in the original space and rotated."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from bench.cells import Desk
from bench.cli import DONE, FAILED, progress_bar, run, say
from bench.effort import about, calibration_flops, seconds, step_flops
from bench.environment import rerun_command
from bench.gradients.figures import draw, setting_of
from bench.gradients.preliminary import MODES, llama_stack, measure_preliminary, settled
from bench.gradients.run import Run
from bench.gradients.spaces import CALIBRATIONS, SPACES
from bench.gradients.table import print_preliminary, print_readings
from bench.gradients.words import PROG, asked, parser
from bench.record import Record, Status
from bench.store import Store
from sparsegrad.roles import find_targets, shape_of

__all__ = ["main"]

# A rotation reads and sorts each entry as well: about as long as so many operations an entry.
_SORTING = 2000.0
_NOT_OF_PRELIMINARY = ("methods", "lora_rank", "fixed_basis", "trainable", "lr", "kept", "core")


def main(argv: Sequence[str]) -> int:
    """Measure, record, draw, print; returns the exit code."""
    args = parser().parse_args(argv)
    request, protocol, workload = asked(args, argv)
    if args.preliminary:
        workload = request.workload()
    command = rerun_command(PROG, argv)
    store = Store.open(args.out, dry=args.dry_run)
    desk = Desk(store=store, request=request, workload=workload, command=command, fresh=args.fresh)
    if args.preliminary:
        return _preliminary(args, desk)
    run_of = Run(desk=desk, protocol=protocol)
    pieces = run_of.pieces()
    if args.dry_run:
        return _plan(args, {**pieces}, _seconds(run_of, pieces))
    if not request.random_weights:
        workload.build()  # weights that cannot be read are the user's to know, before anything long is run
    if all(pieces.values()):
        say(f"{PROG}: read already; --fresh reads again", quiet=args.quiet)
    with progress_bar(quiet=args.quiet) as progress:
        task = progress.add_task("starting", total=len(pieces), completed=-1)

        def told(what: str) -> None:
            progress.update(task, description=what)
            progress.advance(task)

        record = run_of.readings(told)
        told("figures")
    figures = []
    if record.status is Status.OK:
        figures = draw(record, run_of.bases(), args.out / "figures" / f"gradients-{record.key}")
    _print(args, record, figures)
    return DONE if record.status is Status.OK else FAILED


def _seconds(run_of: Run, pieces: Mapping[str, Record | None]) -> float:
    """Roughly how long what is missing takes."""
    desk, protocol = run_of.desk, run_of.protocol
    missing = [record is None for record in pieces.values()]
    workload, request = desk.workload, desk.request
    shapes = [
        shape_of(target.module)
        for target in find_targets(workload.outline(), targets=workload.targets, every=workload.every)
    ]
    looks = len(SPACES) * sum(2.0 * out * inner * (out + inner + _SORTING) for out, inner in shapes)
    step = step_flops(request, workload)
    flops = sum(missing[: len(CALIBRATIONS)]) * calibration_flops(request, workload)
    flops += missing[-2] * request.calibration_steps * (step + looks)
    flops += missing[-1] * (protocol.steps * step + 2 * len(protocol.readings) * looks)
    return seconds(flops, processes=sum(missing), device=request.device)


def _plan(args: argparse.Namespace, pieces: Mapping[str, Record | None], estimate: float) -> int:
    told = {
        name: "to be measured" if record is None else f"measured already, {record.started[:16]} UTC"
        for name, record in pieces.items()
    }
    told["time"] = about(estimate) if None in pieces.values() else "nothing is left to do"
    print(json.dumps(told, indent=2) if args.json else "\n".join(f"{name}: {it}" for name, it in told.items()))
    return DONE


def _preliminary(args: argparse.Namespace, desk: Desk) -> int:
    """Both ways, each a record; the stacked one computed where it does not fit."""
    common = {**desk.request.config(*_NOT_OF_PRELIMINARY), "drift": args.drift}
    configs = {mode: {**common, "mode": mode} for mode in MODES}
    known = {f"preliminary phase, {mode}": desk.known("preliminary", config) for mode, config in configs.items()}
    if args.dry_run:
        missing = sum(record is None for record in known.values())
        flops = 2 * missing * calibration_flops(desk.request, desk.workload)
        return _plan(args, known, seconds(flops, processes=missing, device=desk.request.device))
    records, judged = {}, partial(settled, drift=args.drift)
    with progress_bar(quiet=args.quiet) as progress:
        task = progress.add_task("starting", total=len(MODES))
        for mode, config in configs.items():
            progress.update(task, description=f"preliminary phase, {mode}")
            records[mode] = desk.cell("preliminary", config, measure_preliminary, desk.request, mode, settle=judged)
            progress.advance(task)
    if all(known.values()):
        say(f"{PROG}: measured already; --fresh measures again", quiet=args.quiet)
    llama = llama_stack()
    if args.json:
        print(json.dumps({**{mode: _told(record) for mode, record in records.items()}, "llama": llama}, indent=2))
    else:
        title = f"{setting_of(next(iter(records.values())))}: the preliminary phase"
        print_preliminary(_console(), title, records, llama)
    return DONE if all(record.status is Status.OK for record in records.values()) else FAILED


def _print(args: argparse.Namespace, record: Record, figures: Sequence[Path]) -> None:
    if args.json:
        print(json.dumps({**_told(record), "figures": [str(path) for path in figures]}, indent=2))
        return
    if record.status is not Status.OK:
        say(f"{PROG}: {record.status}: {record.reason}")
        return
    kept = record.config["kept"]
    words = f"{kept:,} entries" if isinstance(kept, int) else f"{100 * kept:.4g}% of the entries"
    console = _console()
    print_readings(console, setting_of(record), record.result, words)
    place = f"record: {args.out}/{record.kind}/{record.key}-*.json; figures: {figures[0].parent}"
    console.print(Text(place), soft_wrap=True)


def _told(record: Record) -> dict[str, Any]:
    return {"kind": record.kind, "key": record.key, "status": str(record.status), "reason": record.reason,
            "command": record.command, "config": record.config, **record.result}  # fmt: skip


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 140)


if __name__ == "__main__":
    run(main, PROG)
