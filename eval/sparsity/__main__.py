"""The command: the sweep's runs, the paired tests, the verdict, the figure."""

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

from bench.cli import DONE, Parser, add_run_words, run
from bench.plotting import write_figure
from bench.record import Record
from eval.by_seed import add_seed_tests
from eval.campaign import Finished, lost_trials, outlook, records_of, see_through, tell_trial
from eval.compare import adjust, charge, compare
from eval.comparison import file_comparison
from eval.ending import exit_code
from eval.launched import Start, leading
from eval.scoreboard import print_scoreboard
from eval.sparsity.figure import drawn
from eval.sparsity.levels import DENSE, PAPER, Level, check_methods, entries_of, levels_of
from eval.sparsity.verdict import verdicts
from eval.study import Study
from eval.synthetic import ENCODER, SYNTHETIC
from eval.words import (
    add_budget_words,
    add_protocol_words,
    add_text_words,
    add_workers_word,
    desk_of,
    other_rates,
    study_of,
)

PROG = "eval.sparsity"
KIND = "sparsity_quality"
_METHOD = "sparsegrad-planned"
# Of the generated task, where nothing else is asked: with the small encoder some minutes on two cores.
_SYNTHETIC_STEPS, _SYNTHETIC_RATE = 300, 3e-3
_NOT_OF_THE_PAPER = "The synthetic task is of the project's own making: nothing here is a verdict on the paper."


def parser() -> Parser:
    """The command line."""
    made = Parser(
        prog=PROG,
        description=(
            "Fine-tune with ever more entries of each layer's gradient kept, the paper's ablation, and say where\n"
            "quality begins to degrade: each level against dense (full fine-tuning), paired over items and seeds,\n"
            "corrected after Holm, with the smallest loss that could have been seen. Runs are eval.glue's own, found\n"
            "again one by one; without data the task is a synthetic one, and no verdict on the paper."
        ),
        example="python -m eval.sparsity --model FOLDER --data-dir DIR --task cola --kept-list 18k 22k 30k 100k dense",
    )
    add_text_words(made, task=[SYNTHETIC.name], model=ENCODER)
    group = made.add_argument_group("methods")
    group.add_argument("--methods", nargs="+", default=[_METHOD], metavar="NAME", help="methods that keep a share of "
                       f"the gradient (default: {_METHOD})")  # fmt: skip
    group.add_argument("--kept-list", nargs="+", default=list(PAPER), metavar="K", help="entries of each layer's "
                       "gradient kept a step: counts (22000, 22k) or shares (0.01, 1%%); dense is always compared "
                       f"(default: {' '.join(PAPER)}, the paper's of its layers)".replace("% ", "%% "))  # fmt: skip
    add_budget_words(group)
    add_protocol_words(made)
    add_run_words(made)
    add_workers_word(made)
    made.epilog = f"{made.epilog}\nof the synthetic task alone, by default: {_SYNTHETIC_STEPS} steps at the rate " \
                  f"{_SYNTHETIC_RATE:g}"  # fmt: skip
    return made


def main(argv: Sequence[str]) -> int:
    """Train, test, print; returns the exit code."""
    args = parser().parse_args(argv)
    return leading(partial(_answer, args, argv), args)


def _answer(args: argparse.Namespace, argv: Sequence[str], start: Start) -> int:
    desk, study = desk_of(args, PROG, argv, start), _study(args)
    core = None if args.core is None else (args.core[0], args.core[1])
    levels = levels_of(args.kept_list, study, core)
    entries = entries_of(study, levels, args.methods, core)
    if args.dry_run:
        told = outlook(list(entries), desk, lambda entry: f"{entries[entry][0].word} kept: ")
        print(
            json.dumps(told, indent=2) if args.json else "\n".join(f"{name}: {state}" for name, state in told.items())
        )
        return DONE
    study.check_weights()
    started = datetime.now(UTC)
    finished = see_through(list(entries), desk, args.storage or str(args.out / "tuning.journal"), quiet=args.quiet)
    everything = records_of(finished)
    result = sweep(study, {one: entries[one.entry] for one in finished})
    asked = {"kept_list": [level.word for level in levels], "core": args.core}
    record = file_comparison(desk, KIND, study, everything, result, started, **asked)
    figures = _draw(args.out / "figures", record, result["rows"], _title(study))
    _print(args, study, levels, {"config": {**study.config(), **asked}, **result}, figures, lost_trials(finished))
    return exit_code(PROG, argv, everything, started, other_rates=other_rates(study), quiet=args.quiet)


def _study(args: argparse.Namespace) -> Study:
    """The question at dense, which has no core: what of eval.glue's words is no word of this command has one value."""
    check_methods(args.methods)
    if set(args.task) == {SYNTHETIC.name}:
        args.lr = args.lr or (None if args.tune is not None else [_SYNTHETIC_RATE])
        if args.steps is None and args.epochs is None:
            args.steps = _SYNTHETIC_STEPS
    named = argparse.Namespace(**vars(args))
    named.methods, named.reference = ["full", *dict.fromkeys(args.methods)], "full"
    named.kept, named.core, named.lora_rank, named.budget = "0.01", None, None, None
    return study_of(named)


def sweep(study: Study, finished: Mapping[Finished, tuple[Level, str]]) -> dict[str, Any]:
    """Rows of every task, split and level, the verdicts that they give, and the trials behind them."""
    rows: list[dict[str, Any]] = []
    for task in study.tasks:
        here = {name: (one, level) for one, (level, name) in finished.items() if one.entry.task == task}
        runs = {name: one.runs for name, (one, _) in here.items()}
        made = compare(task, runs, reference=DENSE, margin=study.margin / 100)
        add_seed_tests(made, runs, reference=DENSE)
        charge(made, {name: [record for _, record in one.trials] for name, (one, _) in here.items()})
        for row in made:
            one, level = here[row["method"]]
            row |= {"base_method": one.entry.method, "kept": level.word, "entries": level.entries, "share": level.share}
        rows += made
    adjust(rows)
    return {
        "reference": DENSE,
        "synthetic": SYNTHETIC.name in study.tasks,
        "budget": None,
        "trials_each": max(len(one.trials) for one in finished),
        "searched": study.tune is not None,
        "rows": rows,
        "verdicts": verdicts(rows),
        "trials": [tell_trial(*trial) for one in finished for trial in one.trials],
    }


def _title(study: Study) -> str:
    return f"{Path(study.model).name}, {study.seeds} seeds"


def _draw(folder: Path, record: Record, rows: Sequence[Mapping[str, Any]], title: str) -> list[Path]:
    """The figure's files beside the records, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind, data in drawn(rows, title).items():
        path = folder / f"sparsity-{record.key}.{kind}"
        write_figure(path, data)
        paths.append(path)
    return paths


def _print(
    args: argparse.Namespace,
    study: Study,
    levels: Sequence[Level],
    result: Mapping[str, Any],
    figures: Sequence[Path],
    lost: Sequence[str],
) -> None:
    if args.json:
        told = {**result, "figures": [str(path) for path in figures]}
        print(json.dumps(told, indent=2, allow_nan=False))
        return
    console = Console(width=None if sys.stdout.isatty() else 160)
    kept = ", ".join(f"{level.word} = {level.entries:,}" for level in levels if level.kept is not None)
    print_scoreboard(console, f"{Path(study.model).name}{study.summary(kept=' '.join(args.methods))}", result)
    for line in lost:
        console.print(Text(line), soft_wrap=True)
    console.print(Text(f"entries over all tuned linears: {kept}, of {levels[-1].of:,}."), soft_wrap=True)
    for verdict in result["verdicts"]:
        where = f"{verdict['task']} {verdict['split']}, {verdict['method']}"
        console.print(Text(f"{where}: {verdict['sentence']}"), soft_wrap=True)
    if result["synthetic"]:
        console.print(Text(_NOT_OF_THE_PAPER), soft_wrap=True)
    console.print(Text(f"records: {args.out}/{KIND}, {args.out}/glue; figure: {figures[0]}"), soft_wrap=True)


if __name__ == "__main__":
    run(main, PROG)
