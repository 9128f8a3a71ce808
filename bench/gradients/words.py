"""The command line of ``bench.gradients``, and what its words come to."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bench.cli import Parser, add_model_words, add_run_words, given, request_of
from bench.drift import add_drift_words
from bench.errors import BadRequest
from bench.gradients.protocol import Protocol, default_block
from bench.request import Request, check_kept
from bench.workload import Workload

__all__ = ["PROG", "asked", "parser"]

PROG = "bench.gradients"
_STEPS, _EMBEDDED_STEPS = 90, 12
_EVERY, _EMBEDDED_EVERY = 10, 4
_OF_READINGS = ("--kept", "--core", "--steps", "--read-every", "--block", "--trainable", "--lr")


def parser() -> Parser:
    """The command line."""
    made = Parser(
        prog=PROG,
        description=(
            "The gradients of the MLP linears through full fine-tuning, as they are and rotated: how much of the\n"
            "squared norm few entries hold, which ones and for how long, the stripes of dL/dY, the spectra of the\n"
            "bases. Figures as SVG and PNG, every number as a record under --out; the same command goes on where it\n"
            "stopped, and measures nothing twice.\n"
            "With --preliminary: what making the bases costs, streamed beside stacked."
        ),
        example=(
            "python -m bench.gradients --model path/to/minilm --task cola --data-dir path/to/glue --core 128 128\n"
            "         (batch 16 x 128, 30 calibration batches, AdamW at 3e-5, everything trained, each tenth step to\n"
            "         the 90th: the energy shares that the project was planned on)"
        ),
    )
    add_model_words(made)
    group = made.add_argument_group("gradients")
    group.add_argument("--kept", default="0.01", metavar="K", help="entries of each gradient that a support has: a "
                       "count (22000) or a share (0.01, 1%%) (default: %(default)s)")  # fmt: skip
    group.add_argument("--core", type=int, nargs=2, metavar=("R", "C"), help="rows and columns of the rotated space "
                       "that a fixed support may lie in (default: the smallest square with a side divisible by 32 that "
                       "holds --kept)")  # fmt: skip
    group.add_argument("--steps", type=int, metavar="N", help=f"train steps (default: {_STEPS}; {_EMBEDDED_STEPS} "
                       "where neither --model nor a GPU is given)")  # fmt: skip
    group.add_argument("--read-every", type=int, metavar="N", help="read the gradients at every Nth step (default: "
                       f"{_EVERY}; {_EMBEDDED_EVERY} where neither --model nor a GPU is given)")  # fmt: skip
    group.add_argument("--calibration-steps", type=int, metavar="N", help="batches that bases are made from (default: "
                       "30, the paper's; 10 where neither --model nor a GPU is given)")  # fmt: skip
    group.add_argument("--block", type=int, metavar="B", help="block that is drawn, counted from 0 (default: 5, the "
                       "paper's, or the last tuned one before it)")  # fmt: skip
    group.add_argument("--trainable", choices=("mlp", "all"), default="all", help="mlp: MLP linears and classification "
                       "head; all: everything (default: %(default)s)")  # fmt: skip
    group.add_argument("--lr", type=float, default=3e-5, metavar="X", help="of AdamW (default: %(default)s)")
    group = made.add_argument_group("preliminary phase, in place of gradients")
    group.add_argument("--preliminary", action="store_true", help="measure the seconds and bytes of making shared "
                       "bases instead, streamed and, where it fits, stacked; each is timed once")  # fmt: skip
    add_drift_words(group)
    add_run_words(made)
    # Words of the commands that compare methods: here one trains, and all others are only looked for in its gradients.
    made.set_defaults(methods=("full",), lora_rank=None, fixed_basis="per-block")
    return made


def asked(args: argparse.Namespace, argv: Sequence[str]) -> tuple[Request, Protocol, Workload]:
    """The request, how its gradients are read, and the workload; BadRequest where a word does not fit."""
    _check_preliminary(args, argv)
    request = request_of(args)
    embedded = args.model is None and request.device == "cpu"
    steps = (_EMBEDDED_STEPS if embedded else _STEPS) if args.steps is None else args.steps
    every = min(steps, _EMBEDDED_EVERY if embedded else _EVERY) if args.read_every is None else args.read_every
    protocol = Protocol(steps=steps, read_every=every, block=args.block or 0)  # checked before anything is read
    workload = request.workload(protocol.steps)
    outline = workload.outline()
    check_kept(request, outline, workload)
    block = default_block(args.block, outline, targets=workload.targets, every=workload.every)
    return request, Protocol(steps=steps, read_every=every, block=block), workload


def _check_preliminary(args: argparse.Namespace, argv: Sequence[str]) -> None:
    """Words of the readings mean nothing to ``--preliminary``, nor its own to them, and their user expects them to."""
    if not args.preliminary and given(argv, "--drift"):
        raise BadRequest(f"--drift {args.drift} is of the timed phase: add --preliminary, or leave it out")
    for option in _OF_READINGS if args.preliminary else ():
        if given(argv, option):
            raise BadRequest(f"{option} has no use with --preliminary, which reads no gradients; leave one of them out")
