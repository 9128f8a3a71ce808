"""What a command would run, and roughly how long that takes here: what a dry run tells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import fmean

from bench.effort import about, seconds
from eval.chat.cell import Cell
from eval.chat.sources import Parts
from eval.chat.study import Study
from eval.desk import Desk, state_of
from sparsegrad.roles import is_linear, weight_of

__all__ = ["outlook"]

# Texts whose lengths stand for all.
_TEXTS_MEASURED = 64


def outlook(study: Study, desk: Desk) -> dict[str, str]:
    """Every run and whether it is done, how much each reads, and the time of those that are left."""
    known = {cell: desk.known(cell) for method in study.methods for cell in study.runs(method)}
    told = {cell.name: state_of(record) for cell, record in known.items()}
    parts, protocol = study.subject(study.seed).parts(), study.protocol
    told["each"] = (
        f"{protocol.total_steps(len(parts.train))} updates of {protocol.batch_size} conversations out of "
        f"{len(parts.train)}, {len(parts.valid)} held out"
    )
    left = [cell for cell, record in known.items() if record is None]
    return {**told, "time": about(_seconds(left, parts, desk.workers))}


def _seconds(cells: Sequence[Cell], parts: Parts, workers: int) -> float:
    """Of runs of one study: for each weight of a product and token two operations forward, and four backward."""
    if not cells:
        return 0.0
    first = cells[0]
    source = first.subject.source()
    weights = sum(weight_of(module).numel() for module in source.outline().modules() if is_linear(module))
    texts, _ = first.subject.rendering(source).rendered(parts.train[:_TEXTS_MEASURED])
    tokens = fmean([len(text.input_ids) for text in texts] or [first.subject.max_length])
    scored = 2.0 * weights * tokens  # a conversation
    update = 3 * scored * first.protocol.batch_size
    trained = sum(cell.chosen_method().trains for cell in cells) * first.protocol.total_steps(len(parts.train))
    wanted = [cell.calibration_config() for cell in cells]
    bases = len({json.dumps(config) for config in wanted if config is not None})
    flops = len(cells) * len(parts.valid) * scored + (trained + bases * first.calibration_steps) * update
    return seconds(flops, processes=-(-(len(cells) + bases) // workers), device=first.device)
