"""python -m eval.chat: fine-tune on conversations with each method, seeds paired, and say what differs."""

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

from bench.cli import DONE, progress_bar, run, say
from bench.record import Record, Status
from eval.chat.cell import Cell
from eval.chat.compare import compare
from eval.chat.outlook import outlook
from eval.chat.study import Study
from eval.chat.table import print_table
from eval.chat.words import PROG, parser, study_of
from eval.ending import exit_code
from eval.launched import Start, leading
from eval.words import desk_of

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Train, compare, print; returns the exit code."""
    args = parser().parse_args(argv)
    return leading(partial(_answer, args, argv), args)


def _answer(args: argparse.Namespace, argv: Sequence[str], start: Start) -> int:
    study = study_of(args)
    cells = [cell for method in study.methods for cell in study.runs(method)]
    desk = desk_of(args, PROG, argv, start)
    if args.dry_run:
        told = outlook(study, desk)
        print(json.dumps(told, indent=2) if args.json else "\n".join(f"{name}: {it}" for name, it in told.items()))
        return DONE
    desk.look_up(cells)
    if any(desk.known(cell) is None for cell in cells):
        study.check_weights()
    started = datetime.now(UTC)
    with progress_bar(quiet=args.quiet) as progress:
        bar = progress.add_task("fine-tuning", total=len(cells))

        def done(cell: Cell) -> None:
            progress.update(bar, description=cell.name)
            progress.advance(bar)

        runs = desk.do(cells, done)
    _print(args, study, _result(study, runs))
    for record in runs.values():
        _check_saved(args.out / "models", record)
    lower = f"a lower --lr than {study.lr:g}"
    return exit_code(PROG, argv, [*runs.values()], started, other_rates=lower, quiet=args.quiet)


def _check_saved(folder: Path, record: Record) -> None:
    saved = record.result.get("saved")
    if saved is not None and not (folder / saved["folder"]).is_dir():
        say(f"{PROG}: {folder / saved['folder']} was taken away; --fresh trains and saves again")


def _result(study: Study, runs: Mapping[Cell, Record]) -> dict[str, Any]:
    by_method: dict[str, list[Record]] = {method: [] for method in study.methods}
    for cell, record in runs.items():
        by_method[cell.method].append(record)
    first = next((record.result for record in runs.values() if record.status is Status.OK), None)
    left_out: dict[str, int] = {}
    for part in ("dropped", "left_out_of_train", "left_out_of_valid") if first is not None else ():
        assert first is not None
        for reason, count in first[part].items():
            left_out[reason] = left_out.get(reason, 0) + count
    return {
        "reference": study.reference,
        "rows": compare(by_method, reference=study.reference),
        "left_out": left_out,
        "template": None if first is None else first["template"],
    }


def _print(args: argparse.Namespace, study: Study, result: Mapping[str, Any]) -> None:
    if args.json:
        print(json.dumps({"config": study.config(), **result}, indent=2, allow_nan=False))
        return
    console = Console(width=None if sys.stdout.isatty() else 160)
    protocol = study.protocol
    length = f"{protocol.epochs} epochs" if protocol.steps is None else f"{protocol.steps} steps"
    weights = "random weights" if study.source.random_weights else "pretrained"
    rank = f", LoRA rank {study.lora_rank}" if study.ranked else ""
    how = f"{length} of {protocol.batch_size}, lr {study.lr:g}, kept {study.kept}{rank}"
    title = f"{Path(study.model).name} ({weights}) on {Path(study.data).name}, {study.dtype}; {how}"
    print_table(console, title, result)
    for row in result["rows"]:
        for saved in row["saved"]:
            if saved is not None:
                console.print(Text(f"{row['method']}: {_spoken(study, args.out / 'models', saved)}"), soft_wrap=True)
    console.print(Text(f"records: {args.out}/chat"), soft_wrap=True)


def _spoken(study: Study, folder: Path, saved: Mapping[str, Any]) -> str:
    """How eval.mtbench loads it."""
    place = folder / saved["folder"]
    words = f"--model {place}" if saved["form"] == "merged" else f"--model {study.model} --adapter {place}"
    template = "" if study.conv_template is None else f" --conv-template {study.conv_template}"
    return f"python -m eval.mtbench {words}{template}"


if __name__ == "__main__":
    run(main, PROG)
