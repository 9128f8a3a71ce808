"""python -m eval.glue: fine-tune on GLUE with each method, seeds paired, and say what differs and what is a tie."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.text import Text

from bench.cli import DONE, FAILED, Parser, add_run_words, progress_bar, run, say
from bench.environment import rerun_command
from bench.errors import BadRequest
from bench.record import Record, Status
from bench.request import parse_kept, resolve_device
from bench.store import Store
from eval.cell import Cell
from eval.compare import adjust, compare
from eval.desk import Desk
from eval.launched import Start, leading
from eval.protocol import PROTOCOLS
from eval.scoreboard import print_scoreboard
from eval.study import TRIAL_SEED, Study, choose
from eval.tuning import BATCHES, RATES, Search, check_storage
from sparsegrad.methods import METHODS

PROG = "eval.glue"

# (task, method) -> its trials.
Trials = dict[tuple[str, str], list[tuple[Cell, Record]]]


def default_methods() -> list[str]:
    """Each mathematics once, in the last of the ways of computing it that the registry has."""
    ways = {method.same_as or name: name for name, method in METHODS.items() if method.trains}
    return [name for name in METHODS if name in ways.values()]


def parser() -> Parser:
    """The command line."""
    made = Parser(
        prog=PROG,
        description=(
            "Fine-tune a pretrained encoder on GLUE tasks with each method, on the same linears, examples and seeds,\n"
            "through the Hugging Face Trainer, and compare the methods item by item on the validation split. Each run\n"
            "is a record under --out, with each item's prediction; the same command goes on where it stopped."
        ),
        example="python -m eval.glue --model FOLDER --data-dir DIR --task sst2 --methods full lora --seeds 3",
    )
    group = made.add_argument_group("model and text")
    group.add_argument("--model", metavar="M", required=True, help="preset, hub id or local folder of an encoder")
    group.add_argument("--random-weights", action="store_true", help="the model's shape alone: nothing is fetched")
    group.add_argument("--tokenizer", metavar="PATH", help="(default: the model's own)")
    group.add_argument("--task", nargs="+", metavar="T", required=True, help="GLUE tasks")
    group.add_argument("--data-dir", type=Path, metavar="DIR", help="folder with TASK/train.tsv and "
                       "TASK/validation.tsv (default: the hub)")  # fmt: skip
    group.add_argument("--limit", type=int, metavar="N", help="read N examples of each split at most (default: all)")
    _add_method_words(made)
    _add_protocol_words(made)
    add_run_words(made)
    group.add_argument("--workers", type=int, default=1, metavar="N", help="runs at a time, each in a process of its "
                       "own with its share of the cores (default: %(default)s)")  # fmt: skip
    return made


def _add_method_words(made: Parser) -> None:
    listed = "; ".join(f"{name}: {method.summary}" for name, method in METHODS.items() if method.trains)
    group = made.add_argument_group("methods")
    group.add_argument("--methods", nargs="+", default=default_methods(), metavar="NAME", help=f"any of {listed} "
                       f"(default: {' '.join(default_methods())})")  # fmt: skip
    group.add_argument("--reference", metavar="NAME", help="method that differences are taken to (default: full if it "
                       "is compared, else the first)")  # fmt: skip
    group.add_argument("--margin", type=float, default=1.0, metavar="P", help="points by which a method may be worse "
                       "than the reference and still count as not inferior (default: %(default)s)")  # fmt: skip
    group.add_argument("--kept", default="0.01", metavar="K", help="entries of each layer's gradient kept a step: a "
                       "count (22000) or a share (0.01, 1%%) (default: %(default)s)")  # fmt: skip
    group.add_argument("--lora-rank", type=int, metavar="R", help="(default: the paper's for the preset, else 7)")
    group.add_argument("--budget", choices=("params",), help="params: LoRA's rank is the one with as many parameters "
                       "as entries are kept (default: --lora-rank)")  # fmt: skip
    group.add_argument("--trainable", choices=("mlp", "all"), default="mlp", help="mlp: MLP linears and classification "
                       "head; all: everything else trains too, dense (the paper) (default: %(default)s)")  # fmt: skip
    group.add_argument("--calibration-steps", type=int, default=30, metavar="N", help="batches that bases are made "
                       "from (default: %(default)s, the paper's)")  # fmt: skip


def _add_protocol_words(made: Parser) -> None:
    quick, paper = PROTOCOLS["quick"], PROTOCOLS["paper"]
    group = made.add_argument_group("protocol")
    group.add_argument("--protocol", choices=tuple(PROTOCOLS), default="quick", help=f"quick: {quick.steps} steps of "
                       f"{quick.batch_size}, batches of like length; paper: {paper.epochs} epochs, early stopping on "
                       "held-out training examples, batch and rate of tables 13-15, padded to 128 "
                       "(default: %(default)s)")  # fmt: skip
    group.add_argument("--seeds", type=int, default=3, metavar="N", help="how many, from --seed up (default: "
                       "%(default)s)")  # fmt: skip
    group.add_argument("--lr", type=float, nargs="+", metavar="X", help="learning rates; of several each method takes "
                       "its best, by one trial a rate on held-out training examples (default: the paper's in its "
                       "protocol, else 1e-4)")  # fmt: skip
    group.add_argument("--tune", type=int, metavar="N", help="trials a method in Optuna's search over learning rate "
                       f"({RATES[0]:g} to {RATES[1]:g}, log) and batch ({', '.join(map(str, BATCHES))}), pruned by the "
                       "median, scored on held-out training examples (default: no search)")  # fmt: skip
    group.add_argument("--storage", metavar="PLACE", help="Optuna journal file or database URL; processes that share "
                       "it and --out share the trials (default: OUT/tuning.journal)")  # fmt: skip
    group.add_argument("--steps", type=int, metavar="N", help="updates (default: the protocol's)")
    group.add_argument("--epochs", type=int, metavar="N", help="instead of --steps (default: the protocol's)")
    group.add_argument("--batch-size", type=int, metavar="N", help="examples an update (default: the protocol's)")
    group.add_argument("--accumulate", type=int, metavar="N", help="backwards an update: the same batch in N parts, "
                       "for less memory (default: 1)")  # fmt: skip
    group.add_argument("--max-length", type=int, metavar="N", help="tokens (default: the protocol's, 128)")
    group.add_argument("--dropout", type=float, metavar="P", help=f"probability (default: the protocol's: "
                       f"{quick.dropout:g} or {paper.dropout:g})")  # fmt: skip


def study_of(args: argparse.Namespace) -> Study:
    """The typed question; BadRequest where a word does not fit."""
    words = ("steps", "epochs", "accumulate", "max_length", "dropout")
    methods = tuple(dict.fromkeys(args.methods))
    return Study(
        model=args.model,
        random_weights=args.random_weights,
        tokenizer=args.tokenizer,
        tasks=tuple(dict.fromkeys(args.task)),
        data_dir=args.data_dir,
        limit=args.limit,
        methods=methods,
        reference=args.reference or ("full" if "full" in methods else methods[0]),
        seeds=args.seeds,
        seed=args.seed,
        tune=args.tune,
        lr=None if args.lr is None else tuple(sorted(set(args.lr))),
        kept=parse_kept(args.kept),
        lora_rank=args.lora_rank,
        budget=args.budget,
        trainable=args.trainable,
        protocol=PROTOCOLS[args.protocol].with_words(**{name: getattr(args, name) for name in words}),
        batch_size=args.batch_size,
        calibration_steps=args.calibration_steps,
        margin=args.margin,
        device=resolve_device(args.device),
        dtype=args.dtype,
    )


def main(argv: Sequence[str]) -> int:
    """Train, compare, print; returns the exit code."""
    args = parser().parse_args(argv)
    return leading(partial(_answer, args, argv), args)


def _answer(args: argparse.Namespace, argv: Sequence[str], start: Start) -> int:
    if args.workers < 1:
        raise BadRequest(f"--workers {args.workers} is too small; give 1 or more")
    if args.storage is not None:
        check_storage(args.storage)
        if args.tune is None:
            raise BadRequest(f"--storage {args.storage} has no use without a search; add --tune N")
    study = study_of(args)
    desk = Desk(
        store=Store.open(args.out),
        command=rerun_command(PROG, argv),
        workers=args.workers,
        threads=max(1, torch.get_num_threads() // args.workers),
        fresh=args.fresh,
        start=start,
    )
    if args.dry_run:
        return _dry_run(study, desk, as_json=args.json)
    if not study.random_weights:
        study.source.build()  # weights that cannot be read are the user's to know, before anything long is run
    started = datetime.now(UTC)
    trials, runs = _work(study, desk, args.storage or str(args.out / "tuning.journal"), quiet=args.quiet)
    everything = [record for tried in trials.values() for _, record in tried] + list(runs.values())
    failed = [record for record in everything if record.status is not Status.OK]
    if not failed and max(record.ended for record in everything) < started.isoformat():
        say(f"{PROG}: nothing left to do, all {len(everything)} runs have records", quiet=args.quiet)
    _print(args, study, _result(study, trials, runs))
    if failed:
        say(f"{PROG}: {len(failed)} of {len(everything)} runs failed; just these run again by: {desk.command}")
    return FAILED if failed else DONE


def _work(study: Study, desk: Desk, storage: str, *, quiet: bool) -> tuple[Trials, dict[Cell, Record]]:
    """The trials of each task and method, then the reported runs at what was best among them."""
    pairs = [(task, method) for task in study.tasks for method in study.methods]
    count = sum(study.tune or len(study.trials(*pair)) for pair in pairs)
    with progress_bar(quiet=quiet) as progress:
        bar = progress.add_task("fine-tuning", total=count + len(pairs) * study.seeds)

        def done(cell: Cell) -> None:
            progress.update(bar, description=cell.name)
            progress.advance(bar)

        trials = _tried(study, desk, storage, pairs, done)
        runs = [cell for pair in pairs for cell in study.runs(*pair, choose(trials[pair]))]
        return trials, desk.do(runs, done)


def _tried(
    study: Study, desk: Desk, storage: str, pairs: Sequence[tuple[str, str]], done: Callable[[Cell], None]
) -> Trials:
    if study.tune is not None:
        cells = {pair: study.cell(*pair, seed=TRIAL_SEED, lr=RATES[0], scored_on="held out") for pair in pairs}
        found = Search(desk=desk, storage=storage, trials=study.tune).run(list(cells.values()), done)
        return {pair: found[cell] for pair, cell in cells.items()}
    records = desk.do([cell for pair in pairs for cell in study.trials(*pair)], done)
    return {pair: [(cell, records[cell]) for cell in study.trials(*pair)] for pair in pairs}


def _result(study: Study, trials: Trials, runs: Mapping[Cell, Record]) -> dict[str, Any]:
    """Rows of every task and split with their verdicts, and the trials behind them."""
    rows: list[dict[str, Any]] = []
    for task in study.tasks:
        by_method: dict[str, list[Record]] = {method: [] for method in study.methods}
        for cell, record in runs.items():
            if cell.subject.task == task:
                by_method[cell.method].append(record)
        rows += compare(task, by_method, reference=study.reference, margin=study.margin / 100)
    adjust(rows)
    return {
        "reference": study.reference,
        "trials_each": max(map(len, trials.values())),
        "searched": study.tune is not None,
        "rows": rows,
        "trials": [_trial(cell, record) for tried in trials.values() for cell, record in tried],
    }


def _trial(cell: Cell, record: Record) -> dict[str, Any]:
    good = record.status is Status.OK
    return {
        "task": cell.subject.task,
        "method": cell.method,
        "lr": cell.lr,
        "batch_size": cell.protocol.batch_size,
        "status": str(record.status),
        "pruned_at": record.result["pruned_at"] if good else None,
        "score": record.result["splits"]["held out"]["headline"] if good else None,
        "record": record.key,
    }


def _dry_run(study: Study, desk: Desk, *, as_json: bool) -> int:
    """Every run that can be named now; rates that trials have yet to choose are not."""
    cells: dict[str, str] = {}
    for task in study.tasks:
        for method in study.methods:
            trials = study.trials(task, method)
            for cell in trials if trials or study.tune else study.runs(task, method, None):
                known = desk.known(cell)
                cells[cell.name] = "to be run" if known is None else f"done, {known.ended[:16]} UTC"
            if study.tune is not None:
                cells[f"{task} {method}, search"] = f"{study.tune} trials"
            if trials or study.tune is not None:
                cells[f"{task} {method}, {study.seeds} seeds at what is best"] = "to be chosen"
    print(json.dumps(cells, indent=2) if as_json else "\n".join(f"{cell}: {state}" for cell, state in cells.items()))
    return DONE


def _print(args: argparse.Namespace, study: Study, result: Mapping[str, Any]) -> None:
    if args.json:
        print(json.dumps({"config": study.config(), **result}, indent=2))
        return
    console = Console(width=None if sys.stdout.isatty() else 160)
    protocol = study.protocol
    length = f"{protocol.epochs} epochs" if protocol.steps is None else f"{protocol.steps} steps"
    weights = "random weights" if study.random_weights else "pretrained"
    how = f"{protocol.name}: {length}, trainable {study.trainable}, kept {study.kept}, LoRA rank {study.rank}"
    print_scoreboard(console, f"{Path(study.model).name} ({weights}); {how}", result)
    console.print(Text(f"records: {args.out}/glue"), soft_wrap=True)


if __name__ == "__main__":
    run(main, PROG)
