"""What a request that brought no verdict means: try again, change the request, give this one up, or stop the run.

Pure: status, headers and body in, a fault out. Everything here was redacted before (``service``).
"""

from __future__ import annotations

import email.utils
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from eval.mtbench.hostile import one_line

__all__ = ["LONGEST_DETAIL", "Fault", "Meaning", "fault_inside", "fault_of_status", "retry_after_s"]

_QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_KEY = frozenset({"invalid_api_key", "account_deactivated"})
_FILTER = frozenset({"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"})
_NO_MODEL = frozenset({"model_not_found", "model_not_available", "model_deprecated", "DeploymentNotFound"})
# 400s that name max_tokens but are about this one request, which another name for the parameter would not shorten.
_ABOUT_LENGTH = re.compile(r"context.{0,10}(length|window)|too (large|long)|maximum|at most", re.IGNORECASE)
# Chat completions' way to say that the limit was used up before there was any text.
_CUT_BEFORE_TEXT = re.compile(r"could not finish the message because max_tokens", re.IGNORECASE)
LONGEST_DETAIL = 300
"""Characters of a service's message that are told."""


class Meaning(StrEnum):
    """What to do about it."""

    RETRY = "retry"
    RATE_LIMIT = "rate limit"  # retry, and let every other request wait as well
    PARAMETER = "parameter"  # the 400 names one that was sent
    FILTERED = "filtered"  # the service will not have this text judged
    CUT = "cut"  # the verdict's token limit was reached before any text
    GIVE_UP = "give up"  # asking the same again would bring the same
    KEY = "key"
    MODEL = "model"
    QUOTA = "quota"
    COST = "cost"  # --max-cost would be passed


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One failed request."""

    meaning: Meaning
    detail: str
    """One line for a person."""
    parameter: str | None = None
    """The one that a PARAMETER fault is about."""
    after_s: float | None = None
    """The service's wish, seconds from now."""
    perhaps_billed: bool = False
    """The service may have done the work, though its answer did not arrive."""

    @property
    def stops(self) -> bool:
        """Whether no other request can fare better."""
        return self.meaning in (Meaning.KEY, Meaning.MODEL, Meaning.QUOTA, Meaning.COST)


def fault_of_status(
    status: int, body: object, headers: Mapping[str, str], sent: Mapping[str, Any], *, now_s: float
) -> Fault:
    """The fault of an HTTP status of 400 or more. ``body``: JSON if it was; ``sent``: the request's parameters;
    ``now_s``: Unix time, for a Retry-After that is a date."""
    error = body.get("error", body) if isinstance(body, dict) else {}
    error = error if isinstance(error, dict) else {"message": error}
    message = told if isinstance(told := error.get("message"), str) else ""
    codes = {value for name in ("code", "type") if isinstance(value := error.get(name), str)}
    detail = one_line(f"HTTP {status}: {message}" if message else f"HTTP {status}", LONGEST_DETAIL)
    after_s = retry_after_s(headers, now_s)
    if codes & _QUOTA:
        return Fault(meaning=Meaning.QUOTA, detail=detail)
    if codes & _FILTER:
        return Fault(meaning=Meaning.FILTERED, detail=detail)
    if codes & _NO_MODEL or status in (404, 410):
        return Fault(meaning=Meaning.MODEL, detail=detail)
    if codes & _KEY or status in (401, 403):
        return Fault(meaning=Meaning.KEY, detail=detail)
    if status == 429:
        return Fault(meaning=Meaning.RATE_LIMIT, detail=detail, after_s=after_s)
    if status in (408, 409, 425) or status >= 500:
        return Fault(meaning=Meaning.RETRY, detail=detail, after_s=after_s)
    if _CUT_BEFORE_TEXT.search(message):
        return Fault(meaning=Meaning.CUT, detail=detail)
    if status in (400, 422) and (named := _named_parameter(error.get("param"), message, sent)):
        return Fault(meaning=Meaning.PARAMETER, detail=detail, parameter=named)
    return Fault(meaning=Meaning.GIVE_UP, detail=detail)


def fault_inside(body: Mapping[str, Any], sent: Mapping[str, Any]) -> Fault | None:
    """The fault that a body of status 200 tells of (``{"error": {...}}``), as some gateways do; None without one.

    A code that is an HTTP status, or one of a kind that nothing mends, is taken at its word; any other is retried.
    """
    error = body.get("error")
    if not error or body.get("choices"):
        return None
    told = error if isinstance(error, dict) else {"message": str(error)}
    code = told.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    fault = fault_of_status(status, {"error": told}, {}, sent, now_s=0.0)
    return replace(fault, detail=fault.detail.replace(f"HTTP {status}", "an error with HTTP 200", 1))


def retry_after_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """Seconds of a ``retry-after-ms`` or ``Retry-After`` (RFC 9110, 10.2.3: seconds, or a date); None without."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        text = headers.get(name, "")
        try:
            seconds = float(text) * unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - now_s)
    except (ValueError, OverflowError):
        return None


def _named_parameter(param: object, message: str, sent: Mapping[str, Any]) -> str | None:
    """Which of the parameters sent a 400 is about: the one in its ``param`` field, else the first it mentions."""
    found = {name: match.start() for name in sent if (match := re.search(rf"(?<!\w){name}(?!\w)", message))}
    named = param if isinstance(param, str) and param in sent else min(found, key=found.__getitem__, default=None)
    return None if named is not None and named.startswith("max_") and _ABOUT_LENGTH.search(message) else named
