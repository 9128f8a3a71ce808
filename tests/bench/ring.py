"""Contestants and records made by hand: what bench.rows is given, of known figures."""

from typing import Any

import torch

from bench.record import Record, Status
from bench.rows import SECOND_BASELINE
from bench.timing import Contestant

ALL = ("full", "lora", "meprop", "sparsegrad-regular", "sparsegrad-sd", "frozen")
SHARED = ("sparsegrad-regular", "sparsegrad-sd")
MIB = 2**20


def contestant(name: str, samples: list[float], **fields: Any) -> Contestant:
    """Rounds of these milliseconds: a quarter forward, half backward, a quarter optimizer; 30 tokens a step, a loss
    a round."""
    made = Contestant(name=name, device=torch.device("cpu"), **{"convert_s": 0.5, **fields})
    made.rounds_tokens = made.rounds_tokens or [30.0 for _ in samples]
    made.rounds_ms = [{"forward": ms / 4, "backward": ms / 2, "optimizer": ms / 4} for ms in samples]
    if not made.losses:
        made.losses = [1.0 / (number + 1) for number in range(len(samples))]
    made.steps = len(made.losses)
    return made


def record(
    kind: str, status: Status = Status.OK, reason: str | None = None, key: str = "0123456789abcdef", **told: Any
) -> Record:
    return Record(
        kind=kind,
        key=key,
        status=status,
        reason=reason,
        config={},
        fingerprints={},
        environment={},
        command="python -m bench.speed",
        seed=0,
        started="2026-01-01T00:00:00+00:00",
        ended="2026-01-01T00:00:01+00:00",
        result=told,
    )


def peak(amount: int) -> Record:
    return record(
        "peak",
        trainable_parameters=10,
        updated_parameters=5,
        adapter_bytes=40,
        steps=2,
        instrument="tracked",
        peak_bytes=amount,
        by_phase_bytes={"forward": amount, "backward": 1, "optimizer": 1},
        requested_bytes=None,
        reserved_bytes=None,
    )


def calibration(basis: str, seconds: float) -> Record:
    return record(
        "calibration",
        key=f"{basis.replace('-', '')}0",
        basis=basis,
        calibration_s=seconds,
        steps=30,
        instrument="tracked",
        peak_bytes=3 * MIB,
        by_phase_bytes={},
        bases_bytes=9,
    )


CALIBRATED = dict.fromkeys(SHARED, calibration("shared", 7.0))
# A machine that drifts by a tenth a round, the same for everyone.
FULL = [100.0, 110.0, 120.0, 130.0]
TWIN = [101.0, 109.0, 121.0, 129.0]


def scaled(factor: float) -> list[float]:
    return [factor * ms * wobble for ms, wobble in zip(FULL, (1.0, 1.001, 0.999, 1.0), strict=True)]


def ring(**others: Contestant) -> list[Contestant]:
    """Everyone, the baseline twice; ``others`` replace, by name with _ for -."""
    factors = dict(zip(ALL, (1.0, 0.8, 1.2, 0.75, 0.5, 0.4), strict=True))
    made = {
        name: contestant(name, FULL if name == "full" else scaled(factor), losses=[1.0, 0.5, 0.25, 0.125])
        for name, factor in factors.items()
    }
    made[SECOND_BASELINE] = contestant(SECOND_BASELINE, TWIN)
    made.update({name.replace("_", "-"): value for name, value in others.items()})
    return list(made.values())


def peaks(**others: Record) -> dict[str, Record]:
    amounts = dict(zip(ALL, (100, 80, 100, 125, 125, 50), strict=True))
    return {name: peak(MIB * amount) for name, amount in amounts.items()} | {
        name.replace("_", "-"): value for name, value in others.items()
    }


def row(value: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(row for row in value["rows"] if row["method"] == name)
    return found
