"""The speed table as people read it, from a record's result; not measured is never a number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.record import Record, Status
from bench.rows import BASELINE, failures
from bench.stats import RatioInterval, noise_floor, verdict

_MIB = 2**20
_OF_COLUMNS = (
    "tokens/s: padding not counted. trainable, updated: parameters (a step). adapter: what is kept of the tuned "
    "linears beside the base model.",
    "setup: calibration and conversion, each timed once (no interval), then the training steps after which they are "
    "earned back against full.",
)


def print_speed(console: Console, title: str, result: Mapping[str, Any]) -> None:
    """Table and footnotes on ``console``."""
    table = Table(title=Text(title), title_justify="left", pad_edge=False)
    table.add_column("method", no_wrap=True)
    for name in (
        "steps/s",
        "speed vs full",
        "tokens/s",
        "fwd + bwd + opt, ms",
        "peak",
        "vs full",
        "trainable",
        "updated",
        "adapter",
        "setup",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for row in result["rows"]:
        table.add_row(*(Text(cell) for cell in _cells(row)))
    # Lines too long for a narrow terminal run on; a figure is never cut.
    needed = console.measure(table, options=console.options.update(max_width=1000)).maximum
    console.width = max(console.width, needed)
    console.print(table)
    for note in (*_OF_COLUMNS, *footnotes(result)):
        console.print(Text(note), soft_wrap=True)


def title_of(record: Record) -> str:
    """Two lines: the model and its text, how it trains and where."""
    config, machine = record.config, record.environment
    weights = "random weights" if config["random_weights"] else "pretrained"
    text = config["task"] or f"synthetic lengths {config['lengths']}"
    gpu = machine["gpu"]
    where = gpu["name"] if gpu and config["device"] != "cpu" else f"{machine['cpu']}, {machine['threads']} threads"
    model = f"{Path(config['model']).name} ({weights})"
    batch = f"batch {config['batch_size']} x {config['max_length']}, padding {config['padding']}"
    kept = f", kept {config['kept']}" if "kept" in config else ""
    return f"{model}, {text}, {batch}\n{config['dtype']}, trainable {config['trainable']}{kept}; {where}"


def _cells(row: Mapping[str, Any]) -> list[str]:
    if row["steps_per_s"] is None:
        speed = [row["status"], "", "", ""]
    else:
        phases = " + ".join(f"{row[f'{phase}_ms']:.0f}" for phase in ("forward", "backward", "optimizer"))
        itself = row["method"] == BASELINE and row["ratio_to_full"] is not None
        speed = [
            rate(row["steps_per_s"]),
            "1" if itself else ratio(row["ratio_to_full"], row["verdict"]),
            rate(row["tokens_per_s"]),
            phases,
        ]
    peak = [row["status"], ""] if row["peak_bytes"] is None else [mebibytes(row["peak_bytes"]), ""]
    if row["peak_ratio_to_full"] is not None:
        peak[1] = f"{row['peak_ratio_to_full']:.2f}x"
    counts = [count(row["trainable_parameters"]), count(row["updated_parameters"])]
    adapter = "n/a" if row["adapter_bytes"] is None else mebibytes(row["adapter_bytes"])
    return [row["method"], *speed, *peak, *counts, adapter, _setup(row)]


def ratio(interval: Mapping[str, Any] | None, told: str | None = None) -> str:
    """``1.62x [1.58, 1.66]``; ``~`` before a difference inside the A/A noise; an unbounded interval says so."""
    if interval is None:
        return "n/a"
    high = "inf" if interval["high"] is None else f"{interval['high']:.2f}"
    mark = "~ " if told == "~" else ""
    return f"{mark}{interval['mean']:.2f}x [{interval['low']:.2f}, {high}]"


def in_noise(interval: Mapping[str, Any], aa: Mapping[str, Any] | None) -> str | None:
    """``~`` where the A/A pair differs by as much, or where there is no A/A pair to tell."""
    if aa is None:
        return "~"
    return verdict(_interval(interval), noise_floor(_interval(aa)))


def _interval(told: Mapping[str, Any]) -> RatioInterval:
    high = math.inf if told["high"] is None else told["high"]
    return RatioInterval(mean=told["mean"], low=told["low"], high=high, rounds=told["rounds"])


def rate(steps_per_s: float) -> str:
    """Three figures, without an exponent: ``0.459``, ``2,500``."""
    return f"{steps_per_s:,.0f}" if steps_per_s >= 1000 else f"{steps_per_s:.3g}"


def mebibytes(amount: float) -> str:
    """``812 MiB``; below ten a figure more, ``0.6 MiB``."""
    return f"{amount / _MIB:,.{1 if 0 < amount < 10 * _MIB else 0}f} MiB"


def count(number: int | None) -> str:
    """``7.1M``, ``70.8k``; n/a where not counted."""
    if number is None:
        return "n/a"
    for scale, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * scale:  # what rounds to the next unit is told in it
            return f"{number / scale:.3g}{unit}"
    return str(number)


def _pair(pair: Mapping[str, Any], aa: Mapping[str, Any] | None) -> str:
    """One line on a method beside another."""
    speed = ratio(pair["speed_ratio"], in_noise(pair["speed_ratio"], aa))
    told = f"{pair['method']} over {pair['over']}: {speed} the speed"
    if pair["peak_ratio"] is not None:
        told += f", {pair['peak_ratio']:.2f}x the peak"
    if pair["largest_loss_difference"] is not None:
        told += f"; losses within {pair['largest_loss_difference']:.1e} over {pair['steps']} steps"
    return f"{told}."


def _setup(row: Mapping[str, Any]) -> str:
    if row["calibration_s"] is None:
        return "n/a" if row["convert_s"] is None else f"{row['convert_s']:.1f} s"
    spent = f"{row['calibration_s'] + (row['convert_s'] or 0):.1f} s"
    if row["break_even_steps"] is not None:
        return f"{spent}, {row['break_even_steps']:,.0f} steps"
    return f"{spent}, never" if row["verdict"] == "slower" else f"{spent}, n/a"


def footnotes(result: Mapping[str, Any]) -> list[str]:
    """What the figures of any table of rounds mean, and the comparisons that do not fit into a column."""
    rows, pair_of_full = result["rows"], result["aa"]
    aa = None if pair_of_full["mean"] is None else pair_of_full
    rounds = max((len(row["samples_ms"]) for row in rows), default=0)
    notes = [f"[low, high]: 95% CI of the ratio over {rounds} paired rounds."]
    if aa is not None:
        seen = pair_of_full.get("detectable_ratio")  # not in the oldest records
        power = "" if seen is None else f" This run finds a true {seen:.2f}x four times in five."
        notes.append(f"A/A: full against itself {ratio(aa)}; ~ marks what is not told apart from that.{power}")
    elif pair_of_full["status"] != "ok":
        why = f"{pair_of_full['status']}: {pair_of_full['reason']}"
        notes.append(f"A/A: {why}; without it no difference is told from noise (~).")
    instruments = {row["peak_instrument"] for row in rows if row["peak_instrument"]}
    meaning = {"tracked": "tracked peak of live tensor storages (no GPU: not CUDA memory, not the process's size)"}
    notes += [f"peak: {meaning.get(name, name)}, each method in a fresh process." for name in sorted(instruments)]
    for told in result["calibrations"]:
        if told["status"] == "ok":
            spent = f"{told['calibration_s']:.1f} s for {told['steps']} batches, timed once, "
            spent += f"peak {mebibytes(told['peak_bytes'])}."
            if told.get("distrust"):  # not in the oldest records
                spent += f" Not to be trusted: {told['distrust']}; --fresh times it again."
        else:
            spent = f"{told['status']}: {told['reason']}"
        notes.append(f"calibration of {', '.join(told['methods'])}: {spent}")
    tokenizer = result["workload"]["tokenizer"]
    if tokenizer is not None and "stand-in" in tokenizer:
        notes.append(f"tokens: {tokenizer}: lengths are roughly the text's, ids are not.")
    if result["zero_row_share"] is not None:
        notes.append(f"zero rows of dL/dy (padding): {result['zero_row_share']:.3f} of all.")
    kept: dict[str, list[str]] = {}
    for row in rows:
        if (seen := row["kept_entries"]) is not None:
            span = f"{seen['least']:,} to {seen['most']:,}" if seen["least"] < seen["most"] else f"{seen['most']:,}"
            kept.setdefault(f"{span} entries kept a step in each of {seen['layers']} layers", []).append(row["method"])
    notes += [f"{told}: {', '.join(names)}." for told, names in kept.items()]
    notes += [_pair(pair, aa) for pair in result["pairs"]]
    notes += machine_notes(result) + failures({"rows": rows, "aa": {"status": "ok"}})
    return notes + raw_samples((*rows, pair_of_full), of="method")


def machine_notes(result: Mapping[str, Any]) -> list[str]:
    """What was seen of a machine that did not hold still; records before it was watched tell nothing."""
    machine = result.get("machine") or {"distrust": {}}
    if not machine["distrust"]:
        return []
    if machine["drift"] == "invalid":
        return ["invalid: the machine did not hold still; raw samples stand below, and the same command measures again "
                "(--drift note prints the figures all the same)."]  # fmt: skip
    said: dict[str, list[str]] = {}
    for name, reason in machine["distrust"].items():
        said.setdefault(reason, []).append(name)
    return [f"not to be trusted, {', '.join(names)}: {reason}." for reason, names in said.items()]


def raw_samples(rows: Iterable[Mapping[str, Any]], *, of: str) -> list[str]:
    """A line for each invalid row, named by its field ``of``: what was read on a machine that did not hold still."""
    return [
        f"{row[of]}, ms a step by round: {' '.join(map(_raw, row['samples_ms']))}"
        for row in rows
        if row.get("status") == Status.INVALID  # the oldest A/A pairs have none
    ]


def _raw(ms: float) -> str:
    return f"{ms:,.0f}" if ms >= 1000 else f"{ms:.4g}"
