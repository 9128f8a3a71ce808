"""The words every command shares, and how a command ends: 0 done, 1 something failed, 2 the request was wrong."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench.errors import BadRequest
from bench.fresh import failure, flush_denormals
from bench.lengths import DEFAULT_LENGTHS, LengthLaw
from bench.record import Status
from bench.request import DTYPES, Request, parse_kept, resolve_device
from sparsegrad import SparseGradError
from sparsegrad.methods import METHODS

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line and whose help shows defaults."""

    def __init__(self, *, prog: str, description: str, example: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=f"example: {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As argparse's, but what is empty, mostly for a variable of the shell that is not set, is refused."""
        words = sys.argv[1:] if args is None else list(args)
        for before, word in zip(["a word", *words], words, strict=False):
            if not word or re.fullmatch(r"--[a-z-]+=", word):
                self.error(f"{word.removesuffix('=') or before}: what is given with it is empty")
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """One line instead of argparse's usage block."""
        raise BadRequest(f"{message}; see python -m {self.prog} --help")


def add_model_words(parser: Parser) -> None:
    """What is trained, on what text, how."""
    group = parser.add_argument_group("model and text")
    group.add_argument("--model", metavar="M", help="preset (bert-base, roberta-base, roberta-large, llama-2-7b, "
                       "minilm-l6), hub id or local folder (default: the minilm-l6 shape with random weights; on CUDA "
                       "the roberta-base shape)")  # fmt: skip
    group.add_argument("--random-weights", action="store_true", help="the model's shape alone: nothing is fetched")
    group.add_argument("--task", metavar="T", help="GLUE task whose train text is read (default: synthetic token ids)")
    group.add_argument("--data-dir", type=Path, metavar="DIR", help="folder with TASK/train.tsv (default: the hub)")
    group.add_argument("--tokenizer", metavar="PATH", help="for --task with random weights (default: the model's own "
                       "if at hand, else words hashed to ids, and recorded as that)")  # fmt: skip
    group.add_argument("--lengths", metavar="LAW", default=str(DEFAULT_LENGTHS), help="synthetic lengths in tokens, "
                       "lognormal:MEDIAN:SIGMA or fixed:N (default: %(default)s, CoLA's)")  # fmt: skip
    group.add_argument("--padding", choices=("max", "longest"), default="max", help="pad to --max-length (the authors' "
                       "setting) or to each batch's longest (default: %(default)s)")  # fmt: skip
    group.add_argument("--batch-size", type=int, metavar="N", help="examples a step (default: 16; 8 where neither "
                       "--model nor a GPU is given)")  # fmt: skip
    group.add_argument("--max-length", type=int, default=128, metavar="N", help="tokens (default: %(default)s)")
    group.add_argument("--limit", type=int, metavar="N", help="read N examples of the task at most (default: all)")
    group.add_argument("--dropout", type=float, default=0.0, metavar="P", help="probability (default: %(default)s)")


def add_method_words(parser: Parser, *, methods: Sequence[str] = (), kept_list: Sequence[str] = ()) -> None:
    """Which ``methods`` (by default all), and how they train; with ``kept_list`` several sparsities (that default) in
    place of one, of the methods that keep entries."""
    offered = [method for method in METHODS.values() if not kept_list or method.basis is not None]
    listed = "; ".join(f"{method.name}: {method.summary}" for method in offered)
    group = parser.add_argument_group("methods")
    group.add_argument("--methods", nargs="+", default=list(methods or METHODS), metavar="NAME", help="any of "
                       f"{listed} (default: {' '.join(methods) or 'all'}; full and frozen are rows of every "
                       "table)")  # fmt: skip
    if kept_list:
        group.add_argument("--kept-list", nargs="+", default=list(kept_list), metavar="K", help="numbers of "
                           "entries of each layer's gradient kept a step: counts (22000, 22k), shares (0.01, 1%%) or "
                           f"dense, every entry (default: {' '.join(kept_list)})")  # fmt: skip
    else:
        group.add_argument("--kept", default="0.01", metavar="K", help="entries of each layer's gradient kept a step: "
                           "a count (22000, 22k), a share (0.01, 1%%) or dense, every entry (default: "
                           "%(default)s)")  # fmt: skip
    group.add_argument("--core", type=int, nargs=2, metavar=("R", "C"), help="rows and columns of the "
                       "rotated space that a fixed support lies in (default: the smallest square with a side divisible "
                       f"by 32 that holds {'what is kept' if kept_list else '--kept'})")  # fmt: skip
    group.add_argument("--fixed-basis", choices=("per-block", "shared"), default="per-block", help="bases of a fixed "
                       "support (default: %(default)s)")  # fmt: skip
    if not kept_list:  # LoRA and its kin keep no entries
        group.add_argument("--lora-rank", type=int, metavar="R", help="of LoRA and its kin (default: the "
                           "paper's for the preset, else 7)")  # fmt: skip
    group.add_argument("--trainable", choices=("mlp", "all"), default="mlp", help="mlp: MLP linears and classification "
                       "head; all: everything else trains too, dense (the paper) (default: %(default)s)")  # fmt: skip
    group.add_argument("--lr", type=float, default=1e-4, metavar="X", help="learning rate (default: %(default)s)")
    group.add_argument("--calibration-steps", type=int, metavar="N", help="batches that bases are made from (default: "
                       "30, the paper's; 10 where neither --model nor a GPU is given)")  # fmt: skip


def add_run_words(parser: Parser) -> None:
    """Where it runs, where records go, what is printed."""
    group = parser.add_argument_group("run")
    group.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    group.add_argument("--dtype", choices=tuple(DTYPES), default="fp32", help="of weights and arithmetic (default: "
                       "%(default)s)")  # fmt: skip
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of weights, text and draws (default: 0)")
    group.add_argument("--out", type=Path, default=Path("results"), metavar="DIR", help="folder of the records "
                       "(default: %(default)s)")  # fmt: skip
    group.add_argument("--fresh", action="store_true", help="measure again what has a record already")
    group.add_argument("--dry-run", action="store_true", help="say what would be measured, and measure nothing")
    group.add_argument("--json", action="store_true", help="the result as one JSON object on stdout")
    group.add_argument("--quiet", action="store_true", help="no progress on stderr")


def request_of(args: argparse.Namespace) -> Request:
    """The typed request; BadRequest where a word does not fit."""
    device = resolve_device(args.device)
    # Without --model the shape alone: the default has to run where nothing can be fetched.
    default = "roberta-base" if device.startswith("cuda") else "minilm-l6"
    model = default if args.model is None else args.model
    embedded = args.model is None and device == "cpu"
    return Request(
        model=model,
        random_weights=args.random_weights or args.model is None,
        tokenizer=args.tokenizer,
        task=args.task,
        data_dir=args.data_dir,
        lengths=LengthLaw.parse(args.lengths),
        padding=args.padding,
        batch_size=_or(args.batch_size, 8 if embedded else 16),
        max_length=args.max_length,
        dropout=args.dropout,
        trainable=args.trainable,
        methods=tuple(dict.fromkeys(args.methods)),
        kept=parse_kept(args.kept),
        core=None if args.core is None else (args.core[0], args.core[1]),
        fixed_basis=args.fixed_basis,
        lora_rank=args.lora_rank,
        lr=args.lr,
        calibration_steps=_or(args.calibration_steps, 10 if embedded else 30),
        device=device,
        dtype=args.dtype,
        limit=args.limit,
        seed=args.seed,
    )


def _or(given: int | None, default: int) -> int:
    """What was given, else the default; the embedded default is to end within three minutes on two cores."""
    return default if given is None else given


def given(argv: Sequence[str], option: str) -> bool:
    """Whether the option was typed, whatever its default."""
    return any(word == option or word.startswith(f"{option}=") for word in argv)


def progress_bar(*, quiet: bool) -> Progress:
    """A bar with ETA on stderr; silent where asked, or where nobody watches."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=quiet or not sys.stderr.isatty(),
    )


def say(text: str, *, quiet: bool = False) -> None:
    """One line on stderr."""
    if not quiet:
        print(text, file=sys.stderr, flush=True)


def run(main: Callable[[Sequence[str]], int], prog: str) -> NoReturn:
    """Run a command's main on the process's arguments and exit; no traceback for a wrong request."""
    flush_denormals()
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except (BadRequest, SparseGradError) as error:
        say(f"{prog}: {error}")
        code = WRONG
    except KeyboardInterrupt:
        say(f"{prog}: interrupted; the same command goes on where it stopped")
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe had enough: not an error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = DONE
    except SystemExit as error:
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        code = DONE  # rich's word for the same
    except OSError as error:  # a full disk, a folder taken away
        say(f"{prog}: {error}")
        code = FAILED
    except (MemoryError, RuntimeError) as error:  # torch says of a CPU without memory that it is a RuntimeError
        outcome = failure(error)
        if outcome.status is not Status.OOM:
            raise
        say(f"{prog}: out of memory before anything was measured or between two cells: {outcome.reason}")
        code = FAILED
    sys.exit(code)
