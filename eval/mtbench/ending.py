"""How a command of this package ends: what --json prints, and the exit code."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from bench.cli import DONE, FAILED, say
from bench.record import Record
from eval.mtbench.session import Graded
from eval.mtbench.words import PROG

__all__ = ["exit_code", "print_json"]


def print_json(record: Record, result: Mapping[str, Any], graded: Graded) -> None:
    """One object, the same for a run and its replay: no time, no machine, no command; those are in the record."""
    told = {"kind": record.kind, "key": record.key, "status": str(record.status), "reason": graded.lacking}
    print(json.dumps({**told, "config": record.config, **result}, indent=2))


def exit_code(args: argparse.Namespace, parts: Sequence[Mapping[str, Any]], graded: Graded) -> int:
    """1 where asking was stopped, or a part (``scored`` of ``attempted``) is covered less than ``--min-coverage``."""
    if graded.reason is not None:
        say(f"{PROG}: {graded.reason}; what was answered is kept, and not asked again")
    short = [part for part in parts if part["coverage"] < args.min_coverage]
    for part in short:
        say(
            f"{PROG}: {part['scored']} of {part['attempted']} judgments have a score ({part['coverage']:.1%}); "
            f"--min-coverage asks for {args.min_coverage:.1%}"
        )
    return FAILED if short or graded.stopped is not None else DONE
