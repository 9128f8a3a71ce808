"""Causal models tuned on conversations: the methods of one model and text, paired by conversation and seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.record import Record, Status
from eval.chat.compare import compare
from reports.reading.costs import check_costs
from reports.reading.fields import Fields, Unreadable
from reports.reading.folders import Source
from reports.reading.places import setting

__all__ = ["ChatComparison", "ChatRun", "chat_comparisons", "read_chat"]

_CHOSEN = ("method", "lr", "lora_rank", "seed", "save")


@dataclass(frozen=True, kw_only=True)
class ChatRun:
    """One fine-tuning run whose losses pair with others'."""

    source: Source
    method: str
    seed: int
    conversations: tuple[str, ...]
    """Of each valid loss."""
    saved: str | None
    """Folder of the trained model, by which a judge's record names it."""

    @property
    def record(self) -> Record:
        """Where it comes from."""
        return self.source.record


@dataclass(frozen=True, kw_only=True)
class ChatComparison:
    """Runs of one model, text, protocol, code and libraries, by method."""

    runs: dict[str, list[ChatRun]]
    rows: list[dict[str, Any]]
    """As ``eval.chat`` tells them: loss in nats a reply token, difference to full or to the first method."""
    reference: str

    @property
    def record(self) -> Record:
        """The newest."""
        return max((run.record for runs in self.runs.values() for run in runs), key=lambda record: record.ended)

    def rows_against(self, reference: str, methods: Sequence[str]) -> list[dict[str, Any]]:
        """A row a method, paired with ``reference``; verdicts by Holm over these methods alone."""
        chosen = {name: [run.record for run in self.runs[name]] for name in (reference, *methods)}
        return compare(chosen, reference=reference)[1:]


def read_chat(source: Source) -> ChatRun:
    """The run; Unreadable where the record is none of ``eval.chat``."""
    fields = Fields.of(source.record.result)
    names, losses, tokens = fields.texts("conversations"), fields.numbers("nll"), fields.numbers("tokens")
    if not len(names) == len(losses) == len(tokens) or len(names) < 2 or min(tokens) <= 0:
        raise Unreadable(f"{fields.place}: {len(names)} conversations, {len(losses)} losses, {len(tokens)} lengths")
    check_costs(fields)
    fields.count_or_none("model_parameters")
    method, saved = Fields.of(source.record.config, "config").text("method"), fields.inside_or_none("saved")
    folder = None if saved is None else saved.text("folder")
    return ChatRun(source=source, method=method, seed=source.record.seed, conversations=names, saved=folder)


def chat_comparisons(runs: list[ChatRun]) -> list[ChatComparison]:
    """What may be compared, newest first; of one method and seed run twice the newer counts.

    Raises what a result of another shape makes ``eval.chat``'s own comparison raise.
    """
    groups: dict[str, dict[str, dict[int, ChatRun]]] = defaultdict(lambda: defaultdict(dict))
    for run in sorted(runs, key=lambda run: run.record.ended):
        if run.record.status is Status.OK:
            alike = setting(run.record, but=_CHOSEN, cost=False) + repr(run.conversations)
            groups[alike][run.method][run.seed] = run
    found = []
    for own in groups.values():
        by_method = {name: [by_seed[seed] for seed in sorted(by_seed)] for name, by_seed in own.items()}
        reference = "full" if "full" in by_method else next(iter(by_method))
        rows = compare({name: [r.record for r in runs] for name, runs in by_method.items()}, reference=reference)
        found.append(ChatComparison(runs=by_method, rows=rows, reference=reference))
    return sorted(found, key=lambda one: one.record.ended, reverse=True)
