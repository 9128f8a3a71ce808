"""How a command of many runs ends: what is said of those that failed, and its exit code.

A run whose loss became no number is an answer of its own: its key holds all that the loss depends on, so that the same
request is not trained to the same end again. Of a trial, which is there to choose a rate, it is the answer that was
asked for; of a run that is reported, it is a failure that another rate mends.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from bench.cli import DONE, FAILED, say
from bench.environment import rerun_command
from bench.record import Record, Status
from eval.mtbench.hostile import one_line

__all__ = ["came_to", "diverged", "exit_code", "failures", "settled"]

# As `bench.fresh.failure` tells them, and a launcher before it which process it was.
_DIVERGED = re.compile(r"(process \d+: )?(LossNotFinite|NonFiniteGradient): ")


# Of a failure's reason, in characters: a library's message may quote whatever it was given.
_REASON = 400


def came_to(run: str, status: str, reason: str | None) -> str:
    """A line of what a run came to."""
    return one_line(f"{run}: {status}: {reason}", _REASON)


def diverged(record: Record) -> bool:
    """Whether the run ended because its loss or a gradient was no number."""
    return record.status is Status.ERROR and _DIVERGED.match(record.reason or "") is not None


def settled(record: Record) -> bool:
    """Whether the same request again would only repeat it."""
    return record.status is Status.OK or diverged(record)


def failures(records: Sequence[Record]) -> list[Record]:
    """Those that are not ok, but for trials that diverged."""
    return [record for record in records if record.status is not Status.OK and not _told_a_rate(record)]


def _told_a_rate(record: Record) -> bool:
    """Whether it was to choose by, and has said that its rate is out."""
    return record.kind in ("glue", "glue_trial") and record.config["scored_on"] == "held out" and diverged(record)


def exit_code(
    prog: str,
    argv: Sequence[str],
    records: Sequence[Record],
    started: datetime,
    *,
    other_rates: str,
    quiet: bool,
    keyed: bool = False,
    noun: str = "runs",
) -> int:
    """0, or 1 where one failed; says which of those that failed run again by the same words, and which want others.

    Arguments:
        argv: of the command.
        started: of the command; where no record is younger, nothing was left to do.
        other_rates: the words that give another learning rate.
        keyed: whether the command takes `--only KEY ...`; one that does not finds by itself what is done.
    """
    failed = failures(records)
    lost = [record for record in failed if not diverged(record)]
    count = f"of {len(records)} {noun} failed"
    if not lost and max(record.ended for record in records) < started.isoformat():
        say(f"{prog}: nothing left to do, all {len(records)} {noun} have records", quiet=quiet)
    if len(lost) < len(failed):
        say(
            f"{prog}: {len(failed) - len(lost)} {count}: they diverged (the loss was no number), as they would again; "
            f"give {other_rates}, or --fresh to train all again"
        )
    if lost:
        only = ["--only", *(record.key for record in lost)] if keyed else []
        again = rerun_command(prog, [*(word for word in argv if word != "--fresh"), *only])
        say(f"{prog}: {len(lost)} {count}; just these run again by: {again}")
    return FAILED if failed else DONE
