"""Where the answers come from: files, a model that is asked now, or what it said before."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from bench.cli import progress_bar, say
from bench.errors import BadRequest
from bench.request import resolve_device
from eval.mtbench.answers import read_answers
from eval.mtbench.hostile import visible
from eval.mtbench.items import Answer, Ending, Question
from eval.mtbench.protocol import Protocol

__all__ = ["answers_of", "answers_or_stand_ins"]

# What the answers of a model depend on: another word here is another file.
_IDENTITY = ("model", "adapter", "conv_template", "choices", "max_tokens", "dtype", "seed")
_WHOLE: Ending = "stop"


def answers_of(args: argparse.Namespace, protocol: Protocol) -> tuple[list[Answer], list[Path]]:
    """The answers, and the files that hold them. With ``--replay`` no model is loaded.

    Raises BadRequest where there is nothing to judge, where two files are of one model, and where a file has fewer
    choices than asked for.
    """
    if args.answers:
        paths = list(args.answers)
    elif args.model is not None:
        path = _made_at(args, protocol)
        if not args.replay:
            _generate(args, protocol, path)
        elif not path.is_file():
            raise BadRequest(f"--replay: {args.model} has not answered these questions yet; run without --replay first")
        paths = [path]
    else:
        raise BadRequest("nothing to judge; give --model M, or --answers FILE in FastChat's schema")
    read = [read_answers(path) for path in paths]
    _check(args, protocol.questions, paths, read)
    return [answer for answers in read for answer in answers], paths


def answers_or_stand_ins(args: argparse.Namespace, protocol: Protocol) -> tuple[list[Answer], list[str]]:
    """For an estimate: the answers there are, and for those a model has yet to give, texts as long as they may get.

    The second value says so.
    """
    if args.model is None:
        return answers_of(args, protocol)[0], []
    path = _made_at(args, protocol)
    given = read_answers(path) if path.is_file() else []
    there = {(answer.question_id, answer.choice) for answer in given}
    longest = "word " * args.max_tokens
    awaited = [
        Answer(
            question_id=question.question_id,
            model=given[0].model if given else str(args.model),
            choice=choice,
            turns=(longest,) * len(question.turns),
            endings=(_WHOLE,) * len(question.turns),
        )
        for question in protocol.questions
        for choice in range(args.choices)
        if (question.question_id, choice) not in there
    ]
    note = (
        f"{len(awaited)} answers are not there yet: each is counted as {args.max_tokens} words, as long as it may get"
    )
    return [*given, *awaited], [note] if awaited else []


def _made_at(args: argparse.Namespace, protocol: Protocol) -> Path:
    """The file that a model's answers go to: the same words, the same file."""
    told = {name: str(getattr(args, name)) for name in _IDENTITY}
    canonical = json.dumps({**told, "questions": protocol.fingerprints["questions"]}, sort_keys=True)
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", Path(args.model).name).strip("-.") or "model"
    name = f"{slug[:60]}-{hashlib.sha256(canonical.encode()).hexdigest()[:8]}.jsonl"
    return Path(args.out) / "mtbench" / "answers" / name


def _generate(args: argparse.Namespace, protocol: Protocol, path: Path) -> None:
    from eval.mtbench.generate import generate
    from eval.mtbench.speaker import Speaker

    speaker = Speaker.load(
        args.model,
        adapter=args.adapter,
        conv_template=args.conv_template,
        device=resolve_device(args.device),
        dtype=args.dtype,
    )
    if args.verbose:
        say(f"first prompt:\n{visible(speaker.first_prompt(protocol.questions[0]))}", quiet=args.quiet)
    with progress_bar(quiet=args.quiet) as bar:
        task = bar.add_task("answers", total=len(protocol.questions) * args.choices)
        generate(
            speaker,
            protocol.questions,
            path=path,
            choices=args.choices,
            seed=args.seed,
            max_new_tokens=args.max_tokens,
            batch_size=args.batch_size,
            progress=lambda answer: bar.advance(task),
            say=lambda line: say(f"eval.mtbench: {visible(line)}", quiet=args.quiet),
        )


def _check(
    args: argparse.Namespace, questions: Sequence[Question], paths: Sequence[Path], read: Sequence[Sequence[Answer]]
) -> None:
    asked = {question.question_id for question in questions}
    models: dict[str, Path] = {}
    for path, answers in zip(paths, read, strict=True):
        fitting = [answer for answer in answers if answer.question_id in asked]
        if not fitting:
            raise BadRequest(f"{str(path)!r} answers none of these questions; other --questions are needed")
        if (most := 1 + max(answer.choice for answer in fitting)) < args.choices:
            raise BadRequest(f"{str(path)!r} has {most} choices a question; --choices {args.choices} is too many")
        if most > args.choices:
            say(
                f"{path}: {most} choices a question, {args.choices} judged; --choices {most} judges all",
                quiet=args.quiet,
            )
        if (name := fitting[0].model) in models:
            raise BadRequest(
                f"{str(path)!r} and {str(models[name])!r} are both of {name!r:.60}; give each model_id its own file"
            )
        models[name] = path
