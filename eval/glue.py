"""python -m eval.glue: fine-tune on GLUE with each method, seeds paired, and say what differs and what is a tie."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from bench.cli import DONE, Parser, add_run_words, run, say
from bench.record import Record
from eval.by_seed import add_seed_tests
from eval.campaign import Entry, Finished, lost_trials, outlook, records_of, see_through, tell_trial
from eval.compare import adjust, charge, compare
from eval.comparison import file_comparison
from eval.desk import Desk
from eval.ending import exit_code
from eval.launched import Start, leading
from eval.pilot import PILOT_STEPS, pilots, timed
from eval.scoreboard import print_scoreboard
from eval.study import Study
from eval.words import (
    add_budget_words,
    add_protocol_words,
    add_text_words,
    add_workers_word,
    default_methods,
    desk_of,
    other_rates,
    study_of,
)
from sparsegrad.methods import METHODS

PROG = "eval.glue"


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
    add_text_words(made)
    listed = "; ".join(f"{name}: {method.summary}" for name, method in METHODS.items() if method.trains)
    group = made.add_argument_group("methods")
    group.add_argument("--methods", nargs="+", default=default_methods(), metavar="NAME", help=f"any of {listed} "
                       f"(default: {' '.join(default_methods())})")  # fmt: skip
    group.add_argument("--reference", metavar="NAME", help="method that differences are taken to (default: full if it "
                       "is compared, else the first)")  # fmt: skip
    group.add_argument("--kept", default="0.01", metavar="K", help="entries of each layer's gradient kept a step: a "
                       "count (22000, 22k) or a share (0.01, 1%%) (default: %(default)s)")  # fmt: skip
    group.add_argument("--lora-rank", type=int, metavar="R", help="of LoRA and its kin (default: the paper's "
                       "for the preset, else 7)")  # fmt: skip
    group.add_argument("--budget", choices=("params", "bytes", "time"), help="params: LoRA and its kin get the rank "
                       "with as many trained parameters as entries are kept; bytes: the rank whose adapter file is as "
                       "large as compact SparseGrad's (methods that keep whole weights have no adapter, and stay as "
                       "they are); time: each method gets as many steps as fit the time of the reference's, its "
                       f"calibration counted in, by {PILOT_STEPS} timed updates of each on this machine (default: "
                       "equal steps, and --lora-rank)")  # fmt: skip
    add_budget_words(group)
    add_protocol_words(made)
    add_run_words(made)
    add_workers_word(made)
    return made


def main(argv: Sequence[str]) -> int:
    """Train, compare, print; returns the exit code."""
    args = parser().parse_args(argv)
    return leading(partial(_answer, args, argv), args)


def _answer(args: argparse.Namespace, argv: Sequence[str], start: Start) -> int:
    desk, study = desk_of(args, PROG, argv, start), study_of(args)
    if args.dry_run:
        return _dry_run(study, desk, as_json=args.json)
    study.check_weights()
    started = datetime.now(UTC)
    extra: list[Record] = []
    if study.budget == "time":
        study, extra = timed(study, desk, partial(say, quiet=args.quiet))
    finished = see_through(_entries(study), desk, args.storage or str(args.out / "tuning.journal"), quiet=args.quiet)
    everything = [*extra, *records_of(finished)]
    result = _result(study, finished)
    file_comparison(desk, "glue_comparison", study, everything, result, started)
    _print(args, study, result, lost_trials(finished))
    return exit_code(PROG, argv, everything, started, other_rates=other_rates(study), quiet=args.quiet)


def _entries(study: Study) -> list[Entry]:
    return [Entry(study=study, task=task, method=method) for task in study.tasks for method in study.methods]


def _result(study: Study, finished: Sequence[Finished]) -> dict[str, Any]:
    """Rows of every task and split with their verdicts, and the trials behind them."""
    rows: list[dict[str, Any]] = []
    for task in study.tasks:
        here = {one.entry.method: one for one in finished if one.entry.task == task}
        runs = {method: one.runs for method, one in here.items()}
        made = compare(task, runs, reference=study.reference, margin=study.margin / 100)
        add_seed_tests(made, runs, reference=study.reference)
        charge(made, {method: [record for _, record in one.trials] for method, one in here.items()})
        rows += made
    adjust(rows)
    return {
        "reference": study.reference,
        "budget": study.budget,
        "trials_each": max(len(one.trials) for one in finished),
        "searched": study.tune is not None,
        "rows": rows,
        "trials": [tell_trial(*trial) for one in finished for trial in one.trials],
    }


def _dry_run(study: Study, desk: Desk, *, as_json: bool) -> int:
    told = {}
    if study.budget == "time":
        for pilot in (pilot for task in study.tasks for pilot in pilots(study, task).values()):
            told[pilot.name] = "to be run" if desk.known(pilot) is None else "done"
    told |= outlook(_entries(study), desk)
    print(json.dumps(told, indent=2) if as_json else "\n".join(f"{name}: {state}" for name, state in told.items()))
    return DONE


def _print(args: argparse.Namespace, study: Study, result: Mapping[str, Any], lost: Sequence[str]) -> None:
    if args.json:
        print(json.dumps({"config": study.config(), **result}, indent=2, allow_nan=False))
        return
    console = Console(width=None if sys.stdout.isatty() else 160)
    print_scoreboard(console, f"{Path(study.model).name}{study.summary()}", result)
    for line in (*lost, f"records: {args.out}/glue"):
        console.print(Text(line), soft_wrap=True)


if __name__ == "__main__":
    run(main, PROG)
