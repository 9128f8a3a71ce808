"""One question put to the service until it is answered, or there is no sense in asking on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from eval.mtbench.budget import Budget
from eval.mtbench.faults import Fault, Meaning
from eval.mtbench.items import Ask, Reply
from eval.mtbench.limits import Gate, Patience
from eval.mtbench.service import Line, Service, Told

__all__ = ["Exchange", "adapted", "failed", "reply_of"]

_Result = TypeVar("_Result")

# What a parameter goes by where the service does not take it. OpenAI's reasoning models take no temperature, and
# max_completion_tokens for max_tokens; older services know only max_tokens.
_INSTEAD = {"temperature": None, "max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}


@dataclass(kw_only=True)
class Exchange:
    """An open line, with the patience that all requests on it share."""

    line: Line
    patience: Patience = field(default_factory=Patience)
    budget: Budget | None = None
    requests: int = 0
    """Chat completions sent so far, by all asks."""
    unanswered: int = 0
    """Asks in a row that all patience was spent on."""

    def __post_init__(self) -> None:
        self.gate = Gate(self.patience)

    async def ask(self, ask: Ask) -> Reply | Fault:
        """The reply to one ask: a text, a refusal, a filter, or a transport failure. A fault is one that stops."""
        tries = 0
        changes: tuple[str, ...] = ()

        async def once() -> Reply | Fault:
            nonlocal changes, tries
            while True:
                sent, changes = adapted(ask.parameters, self.line.service)
                tries += 1
                told = await self._send(ask, sent)
                if isinstance(told, Fault):
                    if told.meaning is Meaning.PARAMETER and _learn(self.line.service, told.parameter, sent):
                        continue
                    return told
                return replace(told, adapted=changes)

        result = await self.persist(once)
        is_silence = isinstance(result, Fault) and result.meaning in (Meaning.RETRY, Meaning.RATE_LIMIT)
        self.unanswered = self.unanswered + 1 if is_silence else 0
        if isinstance(result, Fault):
            if result.stops:
                return result
            result = replace(failed(ask, result, self.line.service.host), adapted=changes)
        return replace(result, attempts=tries)

    async def _send(self, ask: Ask, parameters: Mapping[str, Any]) -> Reply | Fault:
        """One request, paid for."""
        if self.budget is not None and not await self.budget.reserve(ask):
            limit = f"{self.budget.limit_usd:g} USD, and {self.budget.spent_usd:.4f} is spent"
            return Fault(meaning=Meaning.COST, detail=limit)
        result: Reply | Fault | None = None
        try:
            self.requests += 1
            told = await self.line.complete(ask.messages, parameters)
            result = reply_of(ask, told, self.line.service.host) if isinstance(told, Told) else told
        finally:
            if self.budget is not None:
                self._settle(self.budget, ask, result)
        return result

    def _settle(self, budget: Budget, ask: Ask, result: Reply | Fault | None) -> None:
        if isinstance(result, Reply):
            budget.settle(ask, reply=result)
        else:  # None: the request was called off while it was out
            budget.settle(ask, perhaps_billed=result is None or result.perhaps_billed)

    async def persist(self, once: Callable[[], Awaitable[_Result | Fault]]) -> _Result | Fault:
        """Call ``once`` until it brings a result, or a fault that waiting does not mend."""
        failures = 0
        while True:
            await self.gate.passage()
            result = await once()
            if not isinstance(result, Fault) or result.meaning not in (Meaning.RETRY, Meaning.RATE_LIMIT):
                return result
            failures += 1
            wait_s = max(self.patience.backoff_s(failures), result.after_s or 0.0)
            if failures >= self.patience.attempts or wait_s > self.patience.longest_wish_s:
                return result
            if result.meaning is Meaning.RATE_LIMIT:
                self.gate.shut(wait_s)
            else:
                await self.patience.sleep(wait_s)


def adapted(parameters: Mapping[str, Any], service: Service) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The parameters as this service takes them, and what was changed for it."""
    sent, changes = {}, []
    for name, value in parameters.items():
        instead = service.renamed.get(name, name)
        if instead is not None:
            sent[instead] = value
        if instead != name:
            changes.append(f"{name} left out" if instead is None else f"{name} sent as {instead}")
    return sent, tuple(changes)


def reply_of(ask: Ask, told: Told, host: str) -> Reply | Fault:
    """The reply in a chat completion; a fault to retry where the body is none. Nothing in it is trusted to be there."""
    body = told.body
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    if not isinstance(message, dict):
        return Fault(meaning=Meaning.RETRY, detail="the response is JSON, but no chat completion", perhaps_billed=True)
    finish = _text(choice.get("finish_reason"))
    text, refusal = _text(message.get("content")), _text(message.get("refusal"))
    failure, detail = None, ""
    if finish == "content_filter":
        failure, detail, text = "filtered", "finish_reason content_filter", None
    elif refusal:
        failure, detail, text = "refused", refusal, None
    elif text is None and finish != "length":
        return Fault(meaning=Meaning.RETRY, detail="the chat completion has no text", perhaps_billed=True)
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Reply(
        key=ask.key,
        text=None if failure else text or "",
        finish_reason=finish,
        failure=failure,
        detail=detail,
        judge_returned=_text(body.get("model")),
        fingerprint=_text(body.get("system_fingerprint")),
        request_id=told.request_id or _text(body.get("id")),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        created=_now(),
        served_by=host,
    )


def failed(ask: Ask, fault: Fault, host: str) -> Reply:
    """What a fault comes to when it is the last word on an ask."""
    cut = fault.meaning is Meaning.CUT
    failure = "filtered" if fault.meaning is Meaning.FILTERED else "transport"
    return Reply(
        key=ask.key,
        text="" if cut else None,
        finish_reason="length" if cut else None,
        failure=None if cut else failure,
        detail=fault.detail,
        created=_now(),
        served_by=host,
    )


def _learn(service: Service, parameter: str | None, sent: Mapping[str, Any]) -> bool:
    """Remember, once for the run, what a parameter goes by; whether the request now differs from what was ``sent``."""
    if parameter not in _INSTEAD or parameter not in sent or parameter in service.renamed.values():
        return False
    service.renamed.setdefault(parameter, _INSTEAD[parameter])
    return True


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
