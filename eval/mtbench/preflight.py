"""Before anything is generated: does the judge answer, and is it still served?"""

from __future__ import annotations

from bench.errors import BadRequest
from eval.mtbench.exchange import Exchange
from eval.mtbench.faults import Fault, Meaning
from eval.mtbench.items import Ask, Reply
from eval.mtbench.limits import Patience
from eval.mtbench.service import KEY_VARIABLE, Service

__all__ = ["preflight", "what_to_set"]

_PROBE = "Reply with the single word: ready"
# A user waits for this: three tries within a few seconds, not the patience of a long run.
_PATIENCE = Patience(attempts=3, first_s=0.5, longest_s=2.0, longest_wish_s=10.0)


async def preflight(service: Service, *, patience: Patience = _PATIENCE) -> Reply:
    """One short request to the judge, with the parameters a judgment has; ``asyncio.run(preflight(service))``.

    Returns the reply (``judge_returned``, ``adapted``), and writes nothing. What the service does not take is known
    to ``service`` from then on. Raises BadRequest, one line that names what to set, where the key is wrong, the model
    retired or unknown, the quota spent, or the service out of reach.
    """
    probe = Ask(
        question_id=0,
        model="",
        choice=0,
        turn=1,
        repeat=0,
        judge=service.judge,
        messages=({"role": "user", "content": _PROBE},),
        parameters={"temperature": 0, "max_tokens": 16},
    )
    async with service.connect() as line:
        answer = await Exchange(line=line, patience=patience).ask(probe)
    if isinstance(answer, Fault):
        raise BadRequest(what_to_set(service, answer))
    if answer.failure == "transport":
        raise BadRequest(
            f"the judge {service.judge} does not answer at {service.base_url} ({answer.detail}): "
            f"check that the service runs, or give --judge-base-url"
        )
    return answer


def what_to_set(service: Service, fault: Fault) -> str:
    """One line about a fault that stops a run, and what to type."""
    told = f"({fault.detail})"
    if fault.meaning is Meaning.KEY:
        return f"the service at {service.base_url} refuses the key {told}: set {KEY_VARIABLE} to one valid there"
    if fault.meaning is Meaning.QUOTA:
        return (
            f"the account of {KEY_VARIABLE} has no quota left {told}: add credit, or set {KEY_VARIABLE} to another key"
        )
    if fault.meaning is Meaning.COST:
        return f"--max-cost would be passed {told}: give a larger one"
    assert fault.meaning is Meaning.MODEL
    return (
        f"the judge {service.judge} is not served at {service.base_url} {told}: it may be retired or misspelt; give "
        f"another --judge, or the --judge-base-url where it is served"
    )
