"""One figure before and after, and when it counts as better or worse."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from reports.document import Detail

__all__ = ["Change", "judged"]

_SIGNIFICANT = 0.05


@dataclass(frozen=True, kw_only=True)
class Change:
    """One figure, before and after. A ratio is after over before; a difference is in points."""

    what: str
    """step time, step time over full's, peak, quality."""
    method: str
    setting: str
    value: float
    low: float
    high: float
    """95% interval; equal to the value for an exact reading."""
    p_value: float | None
    """None for an exact reading."""
    effect: float | None
    """Cohen's d of log times, or of the seeds' differences: mean over standard deviation; None where undefined."""
    floor: float
    """Changes no larger (a log ratio, or points) are noise whatever p says."""
    higher_is_better: bool
    told: str = "~"
    """better, worse or ``~``."""
    detail: Detail | None = None

    @property
    def regression(self) -> bool:
        """Worse by more than the noise."""
        return self.told == "worse"

    @property
    def is_ratio(self) -> bool:
        """Whether 1 stands for no change."""
        return not self.higher_is_better

    def figure(self) -> str:
        """``1.05x [1.02, 1.08]`` or ``-0.4 points [-1.2, +0.4]``."""
        if self.is_ratio:
            return f"{self.value:.3f}x [{self.low:.3f}, {self.high:.3f}]"
        return f"{self.value:+.2f} points [{self.low:+.2f}, {self.high:+.2f}]"

    def line(self) -> str:
        """For a terminal."""
        return f"{self.told}: {self.method}, {self.what}: {self.figure()} ({self.setting})"

    def as_json(self) -> dict[str, Any]:
        """JSON types; an infinite end is None."""
        ends = {name: end if math.isfinite(end) else None for name, end in (("low", self.low), ("high", self.high))}
        return {
            "what": self.what,
            "method": self.method,
            "setting": self.setting,
            "value": self.value,
            **ends,
            "p_holm": self.p_value,
            "effect": self.effect,
            "told": self.told,
        }


def judged(change: Change) -> Change:
    """The change with its verdict: significant, and larger than the noise."""
    size = abs(math.log(change.value)) if change.is_ratio else abs(change.value)
    significant = change.p_value is None or change.p_value < _SIGNIFICANT
    if not significant or size <= change.floor:
        return change
    up = change.value > 1 if change.is_ratio else change.value > 0
    return replace(change, told="better" if up == change.higher_is_better else "worse")
