"""The words of the commands that fine-tune on a task: which methods, at what budget, by which protocol."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bench.cli import Parser
from bench.environment import rerun_command
from bench.errors import BadRequest
from bench.request import parse_kept, resolve_device
from bench.store import Store
from eval.desk import Desk
from eval.launched import Start
from eval.protocol import PROTOCOLS
from eval.study import DEFAULT_RATES, Study
from eval.synthetic import ENCODER
from eval.tuning import BATCHES, RATES, check_storage
from eval.watch import open_storage
from sparsegrad.methods import METHODS

__all__ = [
    "add_budget_words",
    "add_protocol_words",
    "add_text_words",
    "add_workers_word",
    "default_methods",
    "desk_of",
    "other_rates",
    "study_of",
]


def default_methods() -> list[str]:
    """Each mathematics once, in the last of the ways of computing it that the registry has."""
    ways = {method.same_as or name: name for name, method in METHODS.items() if method.trains}
    return [name for name in METHODS if name in ways.values()]


def add_text_words(
    made: Parser, *, task: list[str] | None = None, model: str | None = None, several: bool = False
) -> None:
    """Which model (or ``several``), on which tasks; both are to be given unless there is a default."""
    group = made.add_argument_group("model and text")
    said = "" if model is None else f" (default: {model})"
    count: dict[str, Any] = {"nargs": "+", "default": [model]} if several else {"default": model}
    group.add_argument("--model", metavar="M", required=model is None, **count, help="preset, hub id or local "
                       f"folder of an encoder{said}")  # fmt: skip
    group.add_argument("--random-weights", action="store_true", help="the model's shape alone: nothing is fetched")
    group.add_argument("--tokenizer", metavar="PATH", help="preset or local folder (default: the model's own)")
    said = "" if task is None else f" (default: {' '.join(task)}, which is generated)"
    group.add_argument("--task", nargs="+", metavar="T", required=task is None, default=task, help=f"GLUE tasks{said}")
    group.add_argument("--data-dir", type=Path, metavar="DIR", help="folder with TASK/train.tsv and "
                       "TASK/validation.tsv (default: the hub)")  # fmt: skip
    group.add_argument("--limit", type=int, metavar="N", help="read N examples of each split at most (default: all)")


def add_budget_words(group: argparse._ArgumentGroup) -> None:
    """What every method may spend."""
    group.add_argument("--margin", type=float, default=1.0, metavar="P", help="points by which a method may be worse "
                       "than the reference and still count as not inferior (default: %(default)s)")  # fmt: skip
    group.add_argument("--core", type=int, nargs=2, metavar=("R", "C"), help="rows and columns of the "
                       "rotated space that a fixed support lies in (default: the smallest square with a side divisible "
                       "by 32 that holds the kept entries)")  # fmt: skip
    group.add_argument("--fixed-basis", choices=("per-block", "shared"), default="per-block", help="bases of a fixed "
                       "support (default: %(default)s)")  # fmt: skip
    group.add_argument("--trainable", choices=("mlp", "all"), default="mlp", help="mlp: MLP linears and classification "
                       "head; all: everything else trains too, dense (the paper) (default: %(default)s)")  # fmt: skip
    group.add_argument("--forgetting", action="store_true", help="also ask the pretrained masked-language-model head "
                       "for masked tokens of other text, before and after, and tell how much worse it gets (default: "
                       "not asked)")  # fmt: skip
    group.add_argument("--forgetting-text", type=Path, metavar="FILE", help="that text, one a line, the first 256 "
                       "(default: other GLUE tasks' sentences)")  # fmt: skip
    group.add_argument("--calibration-steps", type=int, default=30, metavar="N", help="batches that bases are made "
                       "from (default: %(default)s, the paper's)")  # fmt: skip


def add_protocol_words(made: Parser) -> None:
    """How long, at which rates, how often."""
    quick, paper = PROTOCOLS["quick"], PROTOCOLS["paper"]
    group = made.add_argument_group("protocol")
    group.add_argument("--protocol", choices=tuple(PROTOCOLS), default="quick", help=f"quick: {quick.steps} steps of "
                       f"{quick.batch_size}, batches of like length; paper: {paper.epochs} epochs, early stopping on "
                       "held-out training examples, batch and rate of tables 13-15, padded to 128 "
                       "(default: %(default)s)")  # fmt: skip
    group.add_argument("--seeds", type=int, default=3, metavar="N", help="how many, from --seed up (default: "
                       "%(default)s)")  # fmt: skip
    rates = " ".join(f"{rate:g}" for rate in DEFAULT_RATES)
    group.add_argument("--lr", type=float, nargs="+", metavar="X", help="learning rates; of several each method takes "
                       "its best, by one trial a rate on held-out training examples (default: the paper's in its "
                       f"protocol, else {rates})")  # fmt: skip
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


def add_workers_word(made: Parser) -> None:
    """How many runs at a time."""
    made.add_argument("--workers", type=int, default=1, metavar="N", help="runs at a time, each in a process of its "
                      "own with its share of the cores (default: %(default)s)")  # fmt: skip


def study_of(args: argparse.Namespace) -> Study:
    """The typed question; BadRequest where a word does not fit."""
    words = ("steps", "epochs", "batch_size", "accumulate", "max_length", "dropout")
    methods = tuple(dict.fromkeys(args.methods))
    return Study(
        model=args.model,
        random_weights=args.random_weights or args.model == ENCODER,
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
        core=None if args.core is None else (args.core[0], args.core[1]),
        fixed_basis=args.fixed_basis,
        lora_rank=args.lora_rank,
        budget=args.budget,
        trainable=args.trainable,
        protocol=PROTOCOLS[args.protocol].with_words(**{name: getattr(args, name) for name in words}),
        batch_size=args.batch_size,
        calibration_steps=args.calibration_steps,
        margin=args.margin,
        device=resolve_device(args.device),
        dtype=args.dtype,
        forgetting=args.forgetting,
        forgetting_text=args.forgetting_text,
    )


def other_rates(study: Study) -> str:
    """The words by which a study gets learning rates at which nothing diverges."""
    if study.tune is not None:
        return f"more trials than --tune {study.tune}, or a low --lr in its place"
    return "lower rates (--lr)"


def desk_of(args: argparse.Namespace, prog: str, argv: Sequence[str], start: Start) -> Desk:
    """Where the command's runs are looked up and filed; BadRequest for workers or a storage that cannot be."""
    if args.workers < 1:
        raise BadRequest(f"--workers {args.workers} is too small; give 1 or more")
    storage = getattr(args, "storage", None)
    if storage is not None:
        check_storage(storage)
        if args.tune is None:
            raise BadRequest(f"--storage {storage} has no use without a search; add --tune N")
        if args.dry_run:
            open_storage(storage, dry=True)
    return Desk(
        store=Store.open(args.out, dry=args.dry_run),
        command=rerun_command(prog, argv),
        workers=args.workers,
        threads=max(1, torch.get_num_threads() // args.workers),
        fresh=args.fresh,
        start=start,
    )
