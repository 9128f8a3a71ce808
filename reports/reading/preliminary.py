"""The preliminary phase as ``bench.gradients --preliminary`` files it: one record a way of making the bases."""

from __future__ import annotations

from dataclasses import dataclass

from bench.record import Record
from reports.reading.fields import Fields, Unreadable
from reports.reading.folders import Source

__all__ = ["Preliminary", "read_preliminary"]


@dataclass(frozen=True, kw_only=True)
class Preliminary:
    """One way. None is not measured."""

    source: Source
    mode: str
    """stacked: all gradients in one tensor, as the paper writes; streamed: folded into Gram matrices one by one."""
    steps: int
    how: str
    """measured; or computed, where the stack does not fit into this machine."""
    seconds: float | None
    peak_bytes: int | None
    """Of tensors, the model among them."""
    model_bytes: int
    stack_bytes: int
    """The largest role's stack, fp32: what the method as written holds at the least."""

    @property
    def record(self) -> Record:
        """Where it comes from."""
        return self.source.record

    @property
    def own_bytes(self) -> int | None:
        """The peak without the model."""
        return None if self.peak_bytes is None else self.peak_bytes - self.model_bytes


def read_preliminary(source: Source) -> Preliminary:
    """The way; Unreadable where the record is none of ``bench.gradients --preliminary``."""
    fields = Fields.of(source.record.result)
    stacks = fields.table("stack_bytes_by_role")
    if not stacks:
        raise Unreadable(f"{fields.place}.stack_bytes_by_role: no role")
    return Preliminary(
        source=source,
        mode=fields.text("mode"),
        steps=int(fields.at_least("steps", 1)),
        how=fields.text("how"),
        seconds=fields.number_or_none("calibration_s"),
        peak_bytes=fields.count_or_none("peak_bytes"),
        model_bytes=int(fields.at_least("model_bytes", 1)),
        stack_bytes=int(max(stacks.values())),
    )
