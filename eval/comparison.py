"""The record of a whole comparison: its rows, verdicts and ledger, beside the runs that they are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bench.environment import environment
from bench.record import Record, Status, record_key
from eval.desk import Desk
from eval.ending import failures
from eval.study import Study

__all__ = ["file_comparison"]


def file_comparison(
    desk: Desk,
    kind: str,
    study: Study,
    runs: Sequence[Record],
    result: Mapping[str, Any],
    started: datetime,
    **asked: Any,
) -> Record:
    """The comparison's record: the one there is of the very same runs, or a new one. `asked`: words beside the study.

    Of runs of which some failed it is the one there is where they failed in the same way.

    It is keyed by the question and by the keys of its runs, which say what data, model, code and libraries they are of.
    """
    config = {**study.config(), **asked, "runs": sorted(record.key for record in runs)}
    fingerprints = {"code": runs[0].fingerprints["code"]}
    key = record_key(kind, config, fingerprints, {})
    failed = len(failures(runs))

    def same(filed: Record) -> bool:
        return filed.status is Status.OK or (failed > 0 and filed.result == result)

    known = None if desk.fresh else desk.store.find(kind, key, same)
    if known is not None:
        return known
    record = Record(
        kind=kind,
        key=key,
        status=Status.ERROR if failed else Status.OK,
        reason=f"{failed} of {len(runs)} runs failed" if failed else None,
        config=config,
        fingerprints=fingerprints,
        environment=environment(study.device),
        command=desk.command,
        seed=study.seed,
        started=started.isoformat(),
        ended=datetime.now(UTC).isoformat(),
        result=dict(result),
    )
    # Another process may have filed it since: it is at the same runs, and ends when they do.
    return desk.store.file(record, again=desk.fresh)
