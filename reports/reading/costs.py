"""What every fine-tuning record says of its cost, checked before a comparison adds it up."""

from __future__ import annotations

from reports.reading.fields import Fields, Unreadable

__all__ = ["check_costs"]


def check_costs(fields: Fields) -> None:
    """What the ledger of a comparison adds up or shows; Unreadable where a part is missing or of another type."""
    for name in ("trainable_parameters", "updated_parameters", "adapter_bytes"):
        fields.count_or_none(name)
    fields.number("train_s")
    fields.number("steps")
    fields.number_or_none("calibration_s")
    if (peak := fields.inside_or_none("peak")) is not None:
        peak.number("peak_bytes")
        peak.text("instrument")
    elif "peak" not in fields.told:
        raise Unreadable(f"{fields.place}.peak: missing")
