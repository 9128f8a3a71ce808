"""What a run was about, in words, and which of the paper's models it trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from bench.presets import PRESETS
from bench.record import Record
from reports.reading.places import describe_machine

__all__ = ["model_called", "on_cuda", "paper_model", "setting_of", "workload_of"]

_KNOWN = MappingProxyType(
    {
        **{name: name for name in PRESETS},
        **{preset.hub_id.rsplit("/", 1)[-1].lower(): name for name, preset in PRESETS.items()},
    }
)
_KEPT = 0.01
"""Share of the entries where a command is not told otherwise."""
_LARGEST = 1e15


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
    return f"{describe_machine(record)}; {workload_of(record)}"


def workload_of(record: Record) -> str:
    """The same without the machine. What most runs have alike is told where it is otherwise, so that two settings never
    share a name: everything trains, dropout, another share kept."""
    asked = record.config
    told = [f"{model_called(record)} ({'random weights' if asked.get('random_weights') is True else 'pretrained'})"]
    told.append(_text(asked))
    protocol = asked.get("protocol")
    where = protocol if isinstance(protocol, dict) else asked
    told.append(f"{where.get('batch_size')} x {where.get('max_length')}")
    told += [f"padding {where['padding']}"] if where.get("padding") else []
    return ", ".join([*told, str(asked.get("dtype")), *_otherwise(asked, where)])


def _otherwise(asked: Mapping[str, Any], where: Mapping[str, Any]) -> Iterator[str]:
    """What this run was asked for and most are not."""
    if asked.get("trainable") == "all":
        yield "everything trains"
    if _is_number(where.get("dropout")) and where["dropout"] > 0:
        yield f"dropout {where['dropout']:g}"
    if _is_number(asked.get("kept")) and asked["kept"] != _KEPT:
        yield f"kept {asked['kept']:,}"
    core = asked.get("core")
    if isinstance(core, list) and core and all(map(_is_number, core)):
        yield f"core {' x '.join(f'{size:g}' for size in core)}"
    if asked.get("fixed_basis") == "shared":
        yield "fixed support in shared bases"
    if _is_number(asked.get("lora_rank")):
        yield f"LoRA rank {asked['lora_rank']:g}"
    if _is_number(asked.get("limit")):
        yield f"{asked['limit']:,} examples"


def _is_number(value: object) -> bool:
    """Of a size that can be written."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def _text(asked: Mapping[str, Any]) -> str:
    """A GLUE task, conversations, or text made up and how long its sentences are."""
    named = asked.get("data") if asked.get("task") is None else asked["task"]
    if isinstance(named, str):
        return named.rstrip("/").rsplit("/", 1)[-1]
    if named is not None:
        return "unknown text"
    lengths = asked.get("lengths")
    return f"synthetic lengths {lengths}" if isinstance(lengths, str) else "synthetic text"
