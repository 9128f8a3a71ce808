"""``python -m bench.crossover``: for a grid of layers, which way of multiplying wins, and what sd gains by."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from bench.cli import DONE, FAILED, Parser, add_run_words, progress_bar, run, say
from bench.crossover.cells import CrossoverDesk
from bench.crossover.figure import heat_map
from bench.crossover.grid import Cell, grid
from bench.crossover.table import print_crossover
from bench.effort import about, seconds
from bench.environment import rerun_command
from bench.errors import BadRequest
from bench.plotting import write_figure
from bench.record import Record, Status
from bench.request import resolve_device
from bench.rounds import add_round_words, rounds_of
from bench.store import Store

PROG = "bench.crossover"


def parser() -> Parser:
    """The command line."""
    made = Parser(
        prog=PROG,
        description=(
            "Times one train step (forward, backward, optimizer) of one linear layer, each way it can be done: dense,\n"
            "the paper's regular and sd, planned, compact, and the paper's by torch's own sparse products (CSR, COO);\n"
            "for a grid of layer shapes, shares of active rows and kept entries. Tells where each wins, and takes the\n"
            "benefit of sd apart into padding and sparsity. Every cell is kept as a record under --out; the same\n"
            "command goes on where it stopped, and measures nothing twice."
        ),
        example="python -m bench.crossover --shapes 3072x768 768x3072 --active 7% 25% 100% --kept-list 1% 22k dense",
    )
    group = made.add_argument_group("grid")
    group.add_argument("--shapes", nargs="+", default=["1536x384", "384x1536"], metavar="OUTxIN", help="layers "
                       "(default: 1536x384 384x1536, those of minilm-l6)")  # fmt: skip
    group.add_argument("--active", nargs="+", default=["0.1", "0.3", "1"], metavar="S", help="shares of the rows of "
                       "dL/dy that are not zero, 0.25 or 25%%, to whole rows of a sequence of 128 (default: 0.1 0.3 "
                       "1)")  # fmt: skip
    group.add_argument("--kept-list", nargs="+", default=["1%", "10%", "dense"], metavar="K", help="entries kept a "
                       "step: counts (22000, 22k), shares (0.01, 1%%) or dense, every entry (default: 1%% 10%% "
                       "dense)")  # fmt: skip
    group.add_argument("--tokens", type=int, default=256, metavar="N", help="rows of dL/dy, in sequences of 128 "
                       "(default: %(default)s)")  # fmt: skip
    group.add_argument("--decay", type=float, default=0.5, metavar="X", help="the i-th singular direction of x and of "
                       "dL/dy has size i^-X; at 0.5 the largest 1%% of entries hold about 0.7 of the energy, as "
                       "measured on a pretrained model (default: %(default)s)")  # fmt: skip
    add_round_words(made, rounds=6, steps=1, warmup=1, turn="steps a turn, after one that is not counted")
    add_run_words(made)
    return made


def main(argv: Sequence[str]) -> int:
    """Measure, record, print, draw; returns the exit code."""
    args = parser().parse_args(argv)
    rounds = rounds_of(args)
    if not 0 <= args.seed < 2**63:
        raise BadRequest(f"--seed {args.seed} is out of range; give 0 to 2**63 - 1")
    device = resolve_device(args.device)
    common = {name: getattr(args, name) for name in ("tokens", "decay", "dtype", "seed")}
    cells = grid(args.shapes, args.active, args.kept_list, device=device, **common, **rounds)
    desk = CrossoverDesk(
        store=Store.open(args.out, dry=args.dry_run),
        device=device,
        command=rerun_command(PROG, argv),
        drift=args.drift,
        fresh=args.fresh,
    )
    known = {cell: desk.known(cell) for cell in cells}
    if args.dry_run:
        return _dry_run(known, device, as_json=args.json)
    if all(known.values()):
        say(f"{PROG}: all {len(cells)} cells are measured already; --fresh measures again", quiet=args.quiet)
    records = _measure(desk, cells, quiet=args.quiet)
    figures = _draw(args.out, records)
    _print(args, records, figures)
    return DONE if all(record.status is Status.OK for record in records) else FAILED


def _measure(desk: CrossoverDesk, cells: Sequence[Cell], *, quiet: bool) -> list[Record]:
    records = []
    with progress_bar(quiet=quiet) as progress:
        task = progress.add_task("starting", total=len(cells))
        for cell in cells:
            progress.update(task, description=cell.name)
            records.append(desk.record(cell))
            progress.advance(task)
    return records


def _draw(out: Path, records: Sequence[Record]) -> list[str]:
    """The heat map's files, named after the records it shows, so that no other run's is written over."""
    name = hashlib.sha256(" ".join(f"{r.key} {r.started}" for r in records).encode()).hexdigest()[:16]
    paths = {kind: out / "figures" / f"crossover-{name}.{kind}" for kind in ("svg", "png")}
    if not all(path.is_file() for path in paths.values()):
        (out / "figures").mkdir(parents=True, exist_ok=True)
        for kind, drawn in heat_map(records).items():
            write_figure(paths[kind], drawn)
    return [str(path) for path in paths.values()]


def _dry_run(known: dict[Cell, Record | None], device: str, *, as_json: bool) -> int:
    told = {
        cell.name: "to be measured" if record is None else f"measured already, {record.started[:16]} UTC"
        for cell, record in known.items()
    }
    missing = [cell for cell, record in known.items() if record is None]
    flops = sum(cell.step_flops() * (1 + cell.warmup + cell.rounds * (1 + cell.steps)) for cell in missing)
    told["time"] = about(seconds(flops, processes=len(missing), device=device))
    print(json.dumps(told, indent=2) if as_json else "\n".join(f"{cell}: {it}" for cell, it in told.items()))
    return DONE


def _print(args: argparse.Namespace, records: Sequence[Record], figures: Sequence[str]) -> None:
    if args.json:
        names = ("key", "reason", "command", "config", "environment")
        told = [{**{name: getattr(r, name) for name in names}, "status": str(r.status), **r.result} for r in records]
        print(json.dumps({"cells": told, "figures": list(figures)}, indent=2))
        return
    machine, config = records[0].environment, records[0].config
    where = machine["gpu"]["name"] if machine["gpu"] else f"{machine['cpu']}, {machine['threads']} threads"
    title = f"One layer, {config['tokens']} tokens, {config['dtype']}; {where}"
    console = Console(width=None if sys.stdout.isatty() else 140)
    print_crossover(console, title, records)
    console.print(Text(f"figure: {' '.join(figures)}; records: {args.out}/crossover"), soft_wrap=True)


if __name__ == "__main__":
    run(main, PROG)
