"""Before anything is generated: does the judge answer?"""

from __future__ import annotations

from eval.mtbench.items import Reply
from eval.mtbench.service import Service

__all__ = ["preflight"]


async def preflight(service: Service) -> Reply:
    """One short request to the judge; ``asyncio.run(preflight(service))``. Writes nothing.

    Returns the reply (``judge_returned``, ``adapted``). Raises BadRequest, one line that names what to set, where the
    key is wrong, the model retired or unknown, the quota spent, or the service out of reach.
    """
    raise NotImplementedError
