"""Fine-tuning runs as comparisons: the methods of one task, paired by item and seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.record import Record, Status
from eval.compare import adjust, compare
from eval.metrics import TASK_METRICS
from eval.tasks import TASKS
from reports.reading.costs import check_costs
from reports.reading.fields import Fields, Unreadable
from reports.reading.folders import Source
from reports.reading.places import setting

__all__ = ["Comparison", "QualityRun", "comparisons", "idle", "nothing_learned", "read_quality"]

# What the runs of one comparison may differ in.
_CHOSEN = ("method", "lr", "lora_rank", "seed", "scored_on", "protocol")
_MARGIN = 0.01
"""Of non-inferiority, hundredths of the metric: eval.glue's default."""


@dataclass(frozen=True, kw_only=True)
class QualityRun:
    """One fine-tuning run whose record has everything that a comparison reads."""

    source: Source
    task: str
    method: str
    seed: int
    variant: tuple[float, int, float]
    """Learning rate, batch size, LoRA's rank: what was chosen for the method."""
    held_out: float | None
    """Score on the held-out slice; None for a run that reports."""

    @property
    def record(self) -> Record:
        """Where it comes from."""
        return self.source.record


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The reported runs of one task, model, protocol, code and libraries."""

    task: str
    runs: dict[str, list[QualityRun]]
    """By method; of a method with several rates in the folder, those of the rate that its trials chose."""
    left_out: tuple[str, ...]
    """What was there beside them, in words."""
    _rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict, repr=False, compare=False)
    """By reference: told once, for tables, drawings and ledger."""

    @property
    def record(self) -> Record:
        """The newest: it speaks for the setting, which all share."""
        return max((run.record for runs in self.runs.values() for run in runs), key=lambda record: record.ended)

    def rows(self, reference: str) -> list[dict[str, Any]]:
        """What ``eval.glue`` tells: a row a split and method, verdicts by Holm over the rows."""
        if reference not in self._rows:
            records = {method: [run.record for run in runs] for method, runs in self.runs.items()}
            rows = compare(self.task, records, reference=reference, margin=_MARGIN)
            adjust(rows)
            self._rows[reference] = rows
        return self._rows[reference]

    def reference(self) -> str:
        """full where it was run, else the first."""
        return "full" if "full" in self.runs else next(iter(self.runs))


def idle(row: dict[str, Any]) -> bool:
    """Whether several seeds do not tell a row's score from that of one answer given to every item."""
    learned = row["over_constant"]
    return len(row["seeds"]) > 1 and learned is not None and (learned["low"] or 0.0) <= 0


def nothing_learned(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line that names the methods of such rows, whose ties are no news; no line where there is none."""
    told = ", ".join(dict.fromkeys(f"{row['method']} on {row['task']}" for row in rows if idle(row)))
    return [f"Not above one answer given to all, so that a tie with them says nothing: {told}."] if told else []


def read_quality(source: Source) -> QualityRun:
    """The run; Unreadable where the record is none of ``eval.glue``."""
    asked = Fields.of(source.record.config, "config")
    task = asked.text("task")
    if task not in TASKS or task not in TASK_METRICS:
        raise Unreadable(f"config.task: {task!r:.40} is no GLUE task")
    held_out = asked.text("scored_on") == "held out"
    score = None
    if source.record.status is Status.OK:
        fields = Fields.of(source.record.result)
        splits = fields.inside("splits")
        for name in ("held out",) if held_out else TASKS[task].splits[1:]:
            score = _checked(splits.inside(name), task)
        check_costs(fields)
    return QualityRun(
        source=source,
        task=task,
        method=asked.text("method"),
        seed=source.record.seed,
        variant=(
            asked.number("lr"),
            int(asked.inside("protocol").at_least("batch_size", 1)),
            asked.number("lora_rank"),
        ),
        held_out=score if held_out else None,
    )


def _checked(split: Fields, task: str) -> float:
    """The headline of a split whose labels and predictions pair."""
    labels, predictions = split.numbers("labels"), split.numbers("predictions")
    if len(labels) != len(predictions) or len(labels) < 2:
        raise Unreadable(f"{split.place}: {len(labels)} labels and {len(predictions)} predictions")
    for name in TASK_METRICS[task]:
        split.inside("scores").number(name)
    return split.number("headline")


def comparisons(runs: list[QualityRun]) -> list[Comparison]:
    """What may be compared, newest first."""
    groups: dict[str, list[QualityRun]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.record.ended):
        protocol = run.record.config["protocol"]
        shared = {name: value for name, value in protocol.items() if name != "batch_size"}
        groups[setting(run.record, but=_CHOSEN, cost=False) + repr(sorted(shared.items()))].append(run)
    found = [_comparison(own) for own in groups.values() if any(run.held_out is None for run in own)]
    told = [one for one in found if one.runs]
    return sorted(told, key=lambda one: one.record.ended, reverse=True)


def _comparison(runs: list[QualityRun]) -> Comparison:
    """One variant a method, one run a seed, one model a seed."""
    reported: dict[str, dict[tuple, list[QualityRun]]] = defaultdict(lambda: defaultdict(list))
    trials: dict[str, dict[tuple, float]] = defaultdict(dict)
    for run in runs:
        if run.held_out is not None:
            trials[run.method][run.variant] = run.held_out
        elif run.record.config.get("scored_on") == "reported":
            reported[run.method][run.variant].append(run)
    left_out: list[str] = []
    chosen: dict[str, list[QualityRun]] = {}
    heads: dict[int, str | None] = {}
    labels: list[Any] | None = None
    for method, variants in sorted(reported.items(), key=lambda item: item[0] != "full"):
        tried = trials[method]
        best = max(
            variants, key=lambda v: (tried.get(v, float("-inf")), len(variants[v]), variants[v][-1].record.ended)
        )
        left_out += [
            f"{method} at rate {other[0]:g}, batch {other[1]}: {len(variants[other])} runs of another choice"
            for other in variants
            if other != best
        ]
        by_seed = {run.seed: run for run in variants[best]}
        for seed, run in list(by_seed.items()):
            if heads.setdefault(seed, run.record.fingerprints.get("model")) != run.record.fingerprints.get("model"):
                left_out.append(f"{method}, seed {seed}: another model under the same name")
                del by_seed[seed]
            elif run.record.status is Status.OK:
                labels = labels if labels is not None else _labels(run)
                if _labels(run) != labels:
                    left_out.append(f"{method}, seed {seed}: other labels under the same data")
                    del by_seed[seed]
        if by_seed:
            chosen[method] = [by_seed[seed] for seed in sorted(by_seed)]
    return Comparison(task=runs[0].task, runs=chosen, left_out=tuple(left_out))


def _labels(run: QualityRun) -> list[Any]:
    """Of every reported split, which all runs on the same data share."""
    return [run.record.result["splits"][name]["labels"] for name in TASKS[run.task].splits[1:]]
