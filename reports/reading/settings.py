"""What a run was about, in words, and which of the paper's models it trained."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bench.presets import PRESETS
from bench.record import Record
from reports.reading.places import describe_machine

__all__ = ["model_called", "on_cuda", "paper_model", "setting_of"]

_KNOWN = MappingProxyType(
    {
        **{name: name for name in PRESETS},
        **{preset.hub_id.rsplit("/", 1)[-1].lower(): name for name, preset in PRESETS.items()},
    }
)


def paper_model(record: Record) -> str | None:
    """The preset that the run's model is, by preset name, hub id or folder name; None for any other."""
    model = record.config.get("model")
    return _KNOWN.get(model.rstrip("/").rsplit("/", 1)[-1].lower()) if isinstance(model, str) else None


def model_called(record: Record) -> str:
    """The model as its command named it; of a long path the last two folders."""
    model = record.config.get("model")
    if not isinstance(model, str):
        return "unknown model"
    return "/".join(model.rstrip("/").split("/")[-2:])


def on_cuda(record: Record) -> bool:
    """Whether a GPU ran it."""
    device = record.environment.get("device")
    return isinstance(device, str) and device.startswith("cuda") and isinstance(record.environment.get("gpu"), dict)


def setting_of(record: Record) -> str:
    """``AMD EPYC, 2 threads; roberta-base (random weights), cola, 16 x 128, padding max, fp32``."""
    asked = record.config
    told = [f"{model_called(record)} ({'random weights' if asked.get('random_weights') is True else 'pretrained'})"]
    told.append(_text(asked))
    protocol = asked.get("protocol")
    where = protocol if isinstance(protocol, dict) else asked
    told.append(f"{where.get('batch_size')} x {where.get('max_length')}")
    told += [f"padding {where['padding']}"] if where.get("padding") else []
    told.append(str(asked.get("dtype")))
    return f"{describe_machine(record)}; {', '.join(told)}"


def _text(asked: Mapping[str, Any]) -> str:
    """A GLUE task, conversations, or text made up."""
    named = asked.get("data") if asked.get("task") is None else asked["task"]
    if isinstance(named, str):
        return named.rstrip("/").rsplit("/", 1)[-1]
    return "synthetic text" if named is None else "unknown text"
