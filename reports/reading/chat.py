"""Causal models tuned on conversations: the methods of one model and text, paired by conversation and seed."""

from __future__ import annotations

from collections import defaultdict
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


def read_chat(source: Source) -> ChatRun:
    """The run; Unreadable where the record is none of ``eval.chat``."""
    fields = Fields.of(source.record.result)
    names, losses, tokens = fields.texts("conversations"), fields.numbers("nll"), fields.numbers("tokens")
    if not len(names) == len(losses) == len(tokens) or len(names) < 2 or min(tokens) <= 0:
        raise Unreadable(f"{fields.place}: {len(names)} conversations, {len(losses)} losses, {len(tokens)} lengths")
    check_costs(fields)
    fields.count_or_none("model_parameters")
    method = Fields.of(source.record.config, "config").text("method")
    return ChatRun(source=source, method=method, seed=source.record.seed, conversations=names)


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
