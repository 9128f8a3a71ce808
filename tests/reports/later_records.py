"""Records of the kinds that one method, layer or command fills by itself, in the shape their commands write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.crossover.ways import WAYS
from bench.record import Record
from tests.reports.small_records import chat, gradients, record

MIB = 2**20


def capacity(method: str, size: int | None, **words: Any) -> Record:
    """The largest batch of 128 tokens within 100 MiB, predicted."""
    made = record("capacity", f"{method.replace('-', '')}{size}")
    config = {**made.config, "method": method, "predicts": True, "find": "batch", "fixed": 128,
              "budget_bytes": 100 * MIB, "times": False}  # fmt: skip
    result = {
        "size": size,
        "limited_by": "budget",
        "peak_bytes": None if size is None else 99 * MIB,
        "peak_phase": "backward",
        "least_misfit_bytes": 101 * MIB,
        "instrument": "predicted",
        "probes": [{"size": 1, "fits": True, "peak_bytes": MIB}, {"size": 8, "fits": False, "peak_bytes": 101 * MIB}],
        "steps_per_s": None,
        "samples_ms": [],
        "not_timed": "not asked for: --time",
    }
    return replace(made, **{"config": config, "result": result, **words})


def cell(
    times: Mapping[str, float], *, active: float = 0.25, kept: int = 5, clear: bool = True, **words: Any
) -> Record:
    """One cell of a 16 x 8 layer: by way its speed over dense's 10 ms; ways not named are as fast as dense."""
    speeds = {way: 1.0 for way in WAYS} | dict(times)
    order = sorted(speeds, key=lambda way: -speeds[way])

    def ratio(mean: float) -> dict[str, Any]:
        return {"mean": mean, "low": 0.9 * mean, "high": 1.1 * mean, "rounds": 3}

    ways = [
        {"way": way, "status": "ok", "reason": None, "step_ms": 10.0 / speed, "ratio_to_dense": ratio(speed),
         "verdict": "~" if speed == 1 else "faster" if speed > 1 else "slower", "samples_ms": [10.0 / speed] * 3}
        for way, speed in speeds.items()
    ]  # fmt: skip
    result = {
        "ways": ways,
        "aa": {**ratio(1.0), "detectable_ratio": 1.1},
        "winner": {"way": order[0], "over": order[1], "ratio": ratio(1.2), "clear": clear},
        "sd_benefit": {"total": ratio(4.0), "padding": ratio(2.0), "rest": ratio(2.0), "sparsity": None},
        "machine": {"drift": "note", "reasons": [], "distrust": {}},
        "energy_share": 0.7,
    }
    config = {"out": 16, "inner": 8, "tokens": 128, "active": active, "kept": kept, "decay": 1.0, "dtype": "fp32",
              "device": "cpu", "seed": 0, "rounds": 3, "steps": 1, "warmup": 1, "drift": "note"}  # fmt: skip
    key = f"{kept}x{round(128 * active)}{order[0].replace('-', '').replace(', ', '').replace(' ', '')}"
    return record("crossover", key, **{"config": config, "result": result, **words})


def preliminary(
    mode: str, *, seconds: float | None, peak: int | None, stack: int, model: str = "bert-base", **words: Any
) -> Record:
    """One way of the preliminary phase from 30 batches; ``peak`` without the model's 400 MB."""
    made = record("preliminary", f"{mode}{seconds}".replace(".", "p"))
    result = {
        "mode": mode,
        "steps": 30,
        "stack_bytes_by_role": {"intermediate": stack, "output": stack},
        "model_bytes": 400_000_000,
        "how": "measured" if seconds is not None else "computed, not measured",
        "calibration_s": seconds,
        "peak_bytes": None if peak is None else peak + 400_000_000,
        "instrument": None if peak is None else "tracked",
    }
    config = {**made.config, "model": model, "random_weights": True, "mode": mode}
    return replace(made, **{"config": config, "result": result, **words})


def compared(verdict: str = "~", **words: Any) -> Record:
    """A command of eval.glue with two methods on one task."""
    difference = {"mean": 0.01, "low": -0.01, "high": 0.03, "p": 0.2, "p_holm": 0.4, "by_seed": [0.0, 0.02]}
    row = {"task": "sst2", "split": "validation", "method": "full", "seeds": [0, 1], "lr": 1e-4,
           "headline": {"mean": 0.9}, "difference": None, "verdict": None, "over_constant": {"low": 0.3}, "trials": 3,
           "trials_s": 60.0, "forgetting": {"mean": 0.2, "low": 0.1, "high": 0.3}}  # fmt: skip
    rows = [row, {**row, "method": "lora", "difference": difference, "verdict": verdict, "forgetting": None}]
    result = {"reference": "full", "budget": "params", "rows": rows, "trials": []}
    return record("glue_comparison", **{"result": result, **words})


def judge_check(**words: Any) -> Record:
    """A judge that rates a point too low."""
    interval = {"value": -1.0, "low": -1.2, "high": -0.8, "questions": 80}
    own = {"known_mean": 6.0, "new_mean": 5.0, "bias": interval, "mean_absolute_error": {**interval, "value": 1.1},
           "rank_correlation": {**interval, "value": 0.8, "low": 0.7, "high": 0.9}, "ratings": 160}  # fmt: skip
    result = {"all": own, "turns": {"1": own}, "labels": ["another judge"], "policies": ["judge: j"]}
    return record("mtbench_calibration", **{"config": {"judge": "j"}, "result": result, **words})


def pictured(**words: Any) -> Record:
    """Gradient readings with what is drawn of them, of one linear at two steps."""
    made = gradients({"none": [0.3], "normalised": [0.7], "shared": [0.6]})
    for row in made.result["rows"]:
        step = row["step"]
        row |= {"nonzero_share": 0.5, "significant_99_share": 0.4, "jaccard_calibration": 0.2 + step / 100,
                "jaccard_step_before": 0.5, "linear": "block.0.up",
                "core_energy_shares": None if row["space"] == "none" else [0.5, 1.0]}  # fmt: skip
    spread = {"mean": 0.5, "least_block": 0.4, "most_block": 0.6}
    dy = [{"step": step, "linear": "block.0.up", "role": "up", "block": 0, "nonzero_share": 0.1} for step in (10, 20)]
    picture = {"step": 20, "linear": "block.0.up", "role": "up", "block": 0}
    patches = [[0.0, 1e-3], [2e-3, 0.0]]
    result = {
        **made.result,
        "readings": [10, 20],
        "spaces": {"none": "the original", "normalised": "rotated", "shared": "the paper's"},
        "linears": [{"name": "block.0.up", "role": "up", "block": 0, "out": 4, "inner": 6, "cores": [[2, 2], [4, 6]]}],
        "summary": {"gradients": [dict(role="up", space="none", **dict.fromkeys(_GRADIENT_FIGURES, spread))],
                    "stripes": [dict(role="up", **dict.fromkeys(_STRIPE_FIGURES, spread))]},
        "dy_rows": dy,
        "pictures": [{**picture, "dw_none": patches, "dw_normalised": patches}],
        "stripe_pictures": [{**picture, "dy_none": patches, "dy_normalised": patches}],
    }  # fmt: skip
    return replace(made, **{"result": result, **words})


_GRADIENT_FIGURES = (
    *("energy_share", "fixed_energy_share", "fixed_in_core_energy_share", "significant_90_share"),
    *("significant_99_share", "flatness", "jaccard_step_before", "jaccard_calibration", "cover_rows", "cover_columns"),
)
_STRIPE_FIGURES = (
    *("zero_row_share", "zero_rows_that_are_padding_share", "padding_that_is_zero_share", "zero_column_share"),
    *("rotated_zero_column_share", "nonzero_share"),
)


def tuned(method: str, losses: Sequence[float], *, seed: int = 0, **changes: Any) -> Record:
    """LLaMA-2-7B on OpenAssistant by the paper's protocol, saved in a folder named after method and seed."""
    made = chat(method, losses, seed=seed)
    config = {**made.config, "model": "llama-2-7b", "data": "oasst1", "save": "adapter", "protocol": {"name": "paper"}}
    del config["task"]
    saved = {"form": "adapter", "folder": f"{method}-{seed}", "bytes": 5}
    return replace(made, config={**config, **changes}, result={**made.result, "saved": saved})


def rated(
    scores: Mapping[str, Sequence[float]], *, labels: Sequence[str] = (), questions: str = "mt-bench-inf"
) -> Record:
    """A judge's report: by model its rating of each question, one turn each; models as eval.mtbench names them."""
    judgments = [
        {"question_id": number, "turn": 1, "choice": 0, "repeat": 0, "model": f"Llama-2-7b-hf+{model}", "score": score}
        for model, own in scores.items()
        for number, score in enumerate(own, 81)
    ]
    models = [
        {"model": f"Llama-2-7b-hf+{model}", "mean": {"value": 5.0, "low": 4.0, "high": 6.0, "questions": len(own)},
         "scored": len(own), "attempted": len(own)}
        for model, own in scores.items()
    ]  # fmt: skip
    result = {"models": models, "differences": [], "labels": list(labels), "policies": [], "judgments": judgments}
    config = {"judge": "gpt-4", "questions": questions, "limit": None}
    return record("mtbench", f"{questions}{len(labels)}".replace("-", ""), config=config, result=result)
