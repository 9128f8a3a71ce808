"""``python -m bench.sparsity``: cost against kept elements, beside full fine-tuning."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
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
from bench.environment import rerun_command
from bench.race import Race, peaks_of
from bench.record import Record, Status
from bench.request import check_used
from bench.rounds import add_round_words, rounds_of
from bench.sparsity.levels import Level, calibrations_of, energies_of, energy_config, levels, with_energy
from bench.sparsity.table import print_sparsity
from bench.store import Store
from bench.tables import title_of

PROG = "bench.sparsity"
# The paper's ablation, in entries a layer.
_KEPT = ("18k", "22k", "30k", "100k", "dense")
# For full and frozen, which keep nothing: the other commands' default, so that their peaks are found.
_UNREAD = "0.01"
# Steps of a peak's cell, forward and backward, and batches of an energy's on two models.
_PEAK_STEPS, _ENERGY_STEPS = 4, 8


def parser() -> Parser:
    """The command line."""
    made = Parser(
        prog=PROG,
        description=(
            "What a train step costs, and how much of the gradient it keeps, for each number of kept entries: energy\n"
            "kept, rows and columns touched, time a step beside full fine-tuning with 95% confidence intervals, peak\n"
            "and optimizer state. (Where each way of multiplying wins, by layer shape: python -m bench.crossover.\n"
            "What sparsity does to quality: python -m eval.sparsity.) Every figure is kept as a record under --out;\n"
            "the same command goes on where it stopped, and measures nothing twice."
        ),
        example="python -m bench.sparsity --model bert-base --random-weights --methods sparsegrad-planned "
        "sparsegrad-compact --kept-list 0.5% 1% 22k dense",
    )
    add_model_words(made)
    add_method_words(made, methods=["sparsegrad-planned"], kept_list=_KEPT)
    made.set_defaults(lora_rank=None)
    add_round_words(made, rounds=6, steps=2, warmup=2)
    add_run_words(made)
    return made


def main(argv: Sequence[str]) -> int:
    """Measure, record, print; returns the exit code."""
    args = parser().parse_args(argv)
    measuring = {**rounds_of(args), "drift": args.drift}
    args.kept = _UNREAD
    request = request_of(args)
    check_used(request)
    workload = request.workload()
    desk = Desk(
        store=Store.open(args.out, dry=args.dry_run),
        request=request,
        workload=workload,
        command=rerun_command(PROG, argv),
        fresh=args.fresh,
    )
    rows = levels(desk, args.kept_list)
    config = {**request.config("kept"), "kept_list": [row.kept for row in rows if row.kept is not None], **measuring}
    record = desk.known("sparsity", config)
    if args.dry_run:
        return _dry_run(args, desk, rows, record)
    if record is not None:
        say(f"{PROG}: measured already, {record.started[:16]} UTC; --fresh measures again", quiet=args.quiet)
    else:
        if not request.random_weights:
            workload.build()  # weights that cannot be read are the user's to know, before anything long is run
        record = measure(args, desk, rows, config)
    _print(args, record)
    return DONE if record.status is Status.OK else FAILED


def measure(args: argparse.Namespace, desk: Desk, rows: Sequence[Level], config: dict[str, Any]) -> Record:
    """The cells of one run: calibrations, peaks and energies, then the interleaved rounds."""
    with progress_bar(quiet=args.quiet) as progress, Race(desk=desk, kind="sparsity", config=config) as race:
        files = {row.desk.bases_file(row.method) for row in rows} - {None}
        keeping = sum(row.kept is not None for row in rows)
        task = progress.add_task(
            "starting", total=len(files) + len(rows) + keeping + (1 + args.rounds) * (len(rows) + 1)
        )

        def told(what: str) -> None:
            progress.update(task, description=what)
            progress.advance(task)

        calibrations = calibrations_of(rows, told)
        peaks = peaks_of(rows, calibrations, told)
        energies = energies_of(rows, calibrations, told)
        timed = race.run(rows, calibrations, peaks, told)
    return race.file(with_energy(timed, rows, peaks, energies))


def _dry_run(args: argparse.Namespace, desk: Desk, rows: Sequence[Level], record: Record | None) -> int:
    cells: dict[str, str] = {}
    processes, flops, step = 0, 0.0, step_flops(desk.request, desk.workload)
    seen = set()
    for row in rows:
        path = row.desk.bases_file(row.method)
        if path is not None and path not in seen:
            seen.add(path)
            made = path.is_file() and not args.fresh
            cells[f"calibration of {row.name} ({desk.request.calibration_steps} batches)"] = _state(made)
            processes, flops = (
                processes + (not made),
                flops + (not made) * calibration_flops(desk.request, desk.workload),
            )
        known = row.desk.known("peak", row.desk.peak_config(row.method.name)) is not None
        cells[f"peak memory of {row.name}"] = _state(known)
        processes, flops = processes + (not known), flops + (not known) * _PEAK_STEPS * step
        if row.kept is not None:
            known = row.desk.known("energy", energy_config(row)) is not None
            cells[f"energy kept by {row.name}"] = _state(known)
            processes, flops = processes + (not known), flops + (not known) * _ENERGY_STEPS * step
    cells[f"rounds of {len(rows)} rows and the A/A pair on {desk.workload.name}"] = _state(record is not None)
    if record is None:
        flops += (args.warmup + args.rounds * args.steps) * (len(rows) + 1) * step
    cells["time"] = about(seconds(flops, processes=processes, device=desk.request.device) if record is None else 0.0)
    print(json.dumps(cells, indent=2) if args.json else "\n".join(f"{cell}: {it}" for cell, it in cells.items()))
    return DONE


def _state(known: bool) -> str:
    return "measured already" if known else "to be measured"


def _print(args: argparse.Namespace, record: Record) -> None:
    if args.json:
        told = {name: getattr(record, name) for name in ("kind", "key", "reason", "command", "config", "environment")}
        print(json.dumps({**told, "status": str(record.status), **record.result}, indent=2))
        return
    console = Console(width=None if sys.stdout.isatty() else 140)
    print_sparsity(console, title_of(record), record.result)
    console.print(Text(f"record: {args.out}/sparsity/{record.key}-*.json"), soft_wrap=True)


if __name__ == "__main__":
    run(main, PROG)
