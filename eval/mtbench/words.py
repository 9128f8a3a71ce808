"""The words of ``python -m eval.mtbench``, and what is wrong with them before anything is asked."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli import Parser
from bench.errors import BadRequest
from bench.request import DTYPES
from eval.mtbench.protocol import PUBLISHED_SETS
from eval.mtbench.questions import POLICIES

__all__ = ["PROG", "check", "parser"]

PROG = "eval.mtbench"


def parser() -> Parser:
    """The command line."""
    made = Parser(
        prog=PROG,
        description=(
            "MT-Bench by single-answer grading: a judge rates each turn of a model's answers from 1 to 10. Gives the\n"
            "mean over questions with its 95% confidence interval, by turn and category, and says what has no rating.\n"
            "Every reply of the judge is kept under --out: the same command goes on where it stopped."
        ),
        example="python -m eval.mtbench --judge gpt-4 --answers model_answer/vicuna-7b-v1.3.jsonl --dry-run",
    )
    _judge_words(made)
    _question_words(made)
    _answer_words(made)
    _grading_words(made)
    _run_words(made)
    return made


def check(args: argparse.Namespace) -> None:
    """BadRequest for words that do not fit each other or their range."""
    for name, least in (("repeats", 1), ("choices", 1), ("concurrency", 1), ("max_tokens", 1), ("batch_size", 1)):
        if getattr(args, name) < least:
            word = name.replace("_", "-")
            raise BadRequest(f"--{word} {getattr(args, name)} is too small; give {least} or more")
    if not 0 <= args.min_coverage <= 1:
        raise BadRequest(f"--min-coverage {args.min_coverage:g} is no share; give 0 to 1, such as 0.95")
    if args.max_cost is not None and not args.max_cost > 0:
        raise BadRequest(f"--max-cost {args.max_cost:g} allows nothing; give US dollars above 0")
    modes = {"--replay": args.replay, "--dry-run": args.dry_run, "--verify-judgments": args.verify_judgments}
    if len(given := [word for word, value in modes.items() if value]) > 1:
        raise BadRequest(f"{' and '.join(given)} exclude each other; give one")
    sources = {"--model": args.model, "--answers": args.answers, "--calibrate": args.calibrate}
    sources["--verify-judgments"] = args.verify_judgments
    if len(given := [word for word, value in sources.items() if value]) > 1:
        raise BadRequest(f"{' and '.join(given)} exclude each other; give one")
    if args.model is None and (args.adapter is not None or args.conv_template is not None):
        raise BadRequest("--adapter and --conv-template go with a model that answers; give --model M as well")
    if args.fastchat_compat and args.harden:
        raise BadRequest("--fastchat-compat sends answers as they are, --harden does not; give one of the two")

    for path in (*(args.answers or ()), args.calibrate, args.verify_judgments, args.prices):
        if path is not None and not path.is_file():
            raise BadRequest(f"{str(path)!r} is no file; give one that is there")


def _judge_words(made: Parser) -> None:
    group = made.add_argument_group("judge")
    group.add_argument("--judge", default="gpt-4", metavar="J", help="model that rates (default: %(default)s, the "
                       "protocol's; key: OPENAI_API_KEY)")  # fmt: skip
    group.add_argument("--judge-base-url", metavar="URL", help="OpenAI-compatible service (default: OPENAI_BASE_URL, "
                       "else OpenAI's)")  # fmt: skip
    group.add_argument("--concurrency", type=int, default=8, metavar="N", help="requests at a time (default: "
                       "%(default)s)")  # fmt: skip
    group.add_argument("--batch-api", action="store_true", help="through the Batch API: half the price, within a day")
    group.add_argument("--max-cost", type=float, metavar="USD", help="stop before this is passed (default: no limit)")
    group.add_argument("--prices", type=Path, metavar="FILE", help="dated prices (default: the project's)")


def _question_words(made: Parser) -> None:
    sets = ", ".join(PUBLISHED_SETS)
    group = made.add_argument_group("questions")
    group.add_argument("--questions", metavar="Q", help=f"{sets}, own (the project's 16) or a FILE in FastChat's "
                       "schema (default: mt-bench-inf; own, labelled, where that cannot be had)")  # fmt: skip
    group.add_argument("--references", choices=POLICIES, help="inf: those in the question file; gpt-4: GPT-4's; "
                       "per-turn-fallback: the first, else the second (default: per-turn-fallback for mt-bench-inf, "
                       "gpt-4 for mt-bench and vicuna, inf for a file)")  # fmt: skip
    group.add_argument("--prompts", choices=("published", "own"), help="the judge's prompts (default: published; own "
                       "with --questions own)")  # fmt: skip
    group.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of the published files (default: a cache, "
                       "filled from their public addresses)")  # fmt: skip
    group.add_argument("--limit", type=int, metavar="N", help="the first N questions (default: all)")


def _answer_words(made: Parser) -> None:
    group = made.add_argument_group("answers")
    group.add_argument("--answers", nargs="+", type=Path, metavar="FILE", help="answers in FastChat's schema, a model "
                       "a file; further models are compared with the first")  # fmt: skip
    group.add_argument("--model", metavar="M", help="hub id or local folder of a model that answers")
    group.add_argument("--adapter", type=Path, metavar="DIR", help="of this project or PEFT's, on --model")
    group.add_argument("--conv-template", metavar="NAME", help="FastChat's template (default: the tokenizer's own)")
    group.add_argument("--choices", type=int, default=1, metavar="N", help="answers a question (default: %(default)s)")
    group.add_argument("--max-tokens", type=int, default=1024, metavar="N", help="of an answer (default: %(default)s)")
    group.add_argument(
        "--batch-size", type=int, default=8, metavar="N", help="answers at a time (default: %(default)s)"
    )
    group.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    group.add_argument("--dtype", choices=tuple(DTYPES), default="fp32", help="of weights (default: %(default)s)")


def _grading_words(made: Parser) -> None:
    group = made.add_argument_group("grading")
    group.add_argument("--repeats", type=int, default=1, metavar="K", help="ratings of each turn: above 1 the judge's "
                       "own spread is told (default: %(default)s)")  # fmt: skip
    group.add_argument("--harden", action="store_true", help="neutralise ratings and prompt delimiters inside answers")
    group.add_argument("--fastchat-compat", action="store_true", help="read ratings and take means as FastChat does")
    group.add_argument("--min-coverage", type=float, default=0.95, metavar="P", help="exit 1 where a smaller share of "
                       "judgments has a score (default: %(default)s)")  # fmt: skip
    group.add_argument("--calibrate", type=Path, metavar="FILE", help="rate the answers in a file of judgments again, "
                       "and say how far the judge is from the scores in it")  # fmt: skip
    group.add_argument("--verify-judgments", type=Path, metavar="FILE", help="check that prompts and scores in a file "
                       "of FastChat's judgments are those made here, and grade them like replies; asks "
                       "nobody")  # fmt: skip


def _run_words(made: Parser) -> None:
    group = made.add_argument_group("run")
    group.add_argument(
        "--replay", action="store_true", help="the whole report from the replies kept, without a request"
    )
    group.add_argument("--dry-run", action="store_true", help="calls, tokens and price range; asks nobody")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of answers and resampling (default: 0)")
    group.add_argument("--out", type=Path, default=Path("results"), metavar="DIR", help="folder of records, replies "
                       "and reports (default: %(default)s)")  # fmt: skip
    group.add_argument("--json", action="store_true", help="the result as one JSON object on stdout")
    group.add_argument("--quiet", action="store_true", help="no progress on stderr")
    group.add_argument("--verbose", action="store_true", help="show the exact prompt of the first question")
