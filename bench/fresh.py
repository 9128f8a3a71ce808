"""Run one function in a process of its own, and say how it ended: what a peak or a calibration is measured in."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from bench.record import Status

# Imported once, by the server that each fresh process is forked from: it runs no tensor operation and no CUDA call, so
# a process made from it is as fresh as a spawned one, five seconds sooner.
_PRELOADED = ("bench.cells", "transformers.modeling_utils", "peft")

# How others than torch's CUDA allocator say it: its CPU allocator, C++, the system, CUDA itself ("CUDA error: out of
# memory") and its libraries, whose workspaces a step at the edge has no room for (CUBLAS_STATUS_ALLOC_FAILED).
_OF_MEMORY = re.compile(r"can(?:'t|not) allocate memory|bad_alloc|out of memory|_ALLOC_FAILED", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """``value`` where status is ok; else ``reason`` says what happened."""

    status: Status
    value: Any = None
    reason: str | None = None


def run_fresh(function: Callable[..., Any], *args: Any) -> Outcome:
    """``function(*args)`` in a process of its own; its value (JSON types) comes back, an error becomes an outcome."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    receiver, sender = context.Pipe(duplex=False)
    parent, lifeline = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, parent, function, args), daemon=True)
    process.start()
    sender.close()
    parent.close()
    try:
        outcome: Outcome = receiver.recv()
    except EOFError:  # died without a word
        process.join()
        outcome = _silent_death(process.exitcode)
    except BaseException:  # interrupted: nobody waits for the answer any more
        process.kill()
        process.join()
        raise
    finally:
        receiver.close()
        if process.is_alive():
            process.join(timeout=10)
        if process.is_alive():
            process.kill()
            process.join()
        lifeline.close()  # last: a child that ends in good order is let tidy up
    return outcome


def flush_denormals() -> None:
    """Denormal numbers count as zero: Adam's vanishing averages made the same arithmetic six times slower on a CPU.

    The flag is a thread's own, and threads inherit it from the one that starts them: to be called before the first
    parallel operation of a process.
    """
    torch.set_flush_denormal(True)


def _end_with(parent: Any) -> None:
    """Wait for the parent's end of the pipe to close, then end: killed, it must not leave us computing."""
    try:
        parent.recv()
    except EOFError:
        os._exit(1)


def _child(sender: Any, parent: Any, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    flush_denormals()
    try:
        outcome = Outcome(status=Status.OK, value=function(*args))
    except Exception as error:  # the parent decides what it means: an outcome is what this process is for
        outcome = failure(error)
    try:
        sender.send(outcome)
    except BrokenPipeError:  # the parent was interrupted
        sys.exit(1)
    except Exception as error:  # a value that cannot travel
        sender.send(failure(error))
    sender.close()


def failure(error: BaseException) -> Outcome:
    """An exception as an outcome: out of memory is a result of its own, the rest is an error."""
    text = str(error).strip().splitlines()
    reason = f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
    memory = isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, (RuntimeError, OSError)) and _OF_MEMORY.search(str(error)) is not None
    )
    return Outcome(status=Status.OOM if memory else Status.ERROR, reason=reason)


def _silent_death(exitcode: int | None) -> Outcome:
    if exitcode == -signal.SIGKILL:
        return Outcome(status=Status.OOM, reason="the process was killed (signal 9), as a system out of memory does")
    return Outcome(status=Status.ERROR, reason=f"the process ended without an answer (exit code {exitcode})")
