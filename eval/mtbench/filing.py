"""What a run leaves: a record in the store, and beside it the report that can be made from the cache again."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.environment import code_fingerprint, environment, rerun_command
from bench.record import Record, Status, record_key
from bench.store import Store
from eval.mtbench.scoring import Grade
from eval.mtbench.session import Graded
from eval.mtbench.words import PROG

__all__ = ["KIND", "Filing", "rows", "sha256", "write_report"]

KIND = "mtbench"
"""Of answers and their ratings, whoever asked for these."""


@dataclass(frozen=True, kw_only=True)
class Filing:
    """One request and what it depends on; the key is the same wherever the same replies were read."""

    kind: str
    config: dict[str, Any]
    fingerprints: dict[str, str]
    argv: Sequence[str]
    seed: int
    started: datetime

    def file(self, store: Store, result: dict[str, Any], graded: Graded) -> Record:
        """The record, written unless an ok one of the same key stands already."""
        fingerprints = {**self.fingerprints, "replies": _of_replies(graded.grades), "code": code_fingerprint("eval")}
        where = environment("cpu")
        key = record_key(self.kind, self.config, fingerprints, {"libraries": where["libraries"]})
        if (known := store.find(self.kind, key)) is not None:
            return known
        record = Record(
            kind=self.kind,
            key=key,
            status=Status.OK if graded.reason is None else Status.ERROR,
            reason=graded.reason,
            config=self.config,
            fingerprints=fingerprints,
            environment=where,
            command=rerun_command(PROG, self.argv),
            seed=self.seed,
            started=self.started.isoformat(),
            ended=datetime.now(UTC).isoformat(),
            result=result,
        )
        store.write(record)
        return record


def write_report(folder: Path, files: Mapping[str, bytes]) -> None:
    """Each file whole or not at all; those of an earlier run of the same record are the same."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        temporary = folder / f".{name}.{secrets.token_hex(8)}.tmp"
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(folder / name)
        finally:
            temporary.unlink(missing_ok=True)


def rows(grades: Iterable[Grade]) -> list[dict[str, Any]]:
    """Every judgment with where it came from, as JSON types."""
    return [
        {
            "question_id": grade.question_id,
            "category": grade.category,
            "model": grade.model,
            "choice": grade.choice,
            "turn": grade.turn,
            "repeat": grade.repeat,
            "outcome": str(grade.verdict.outcome),
            "score": grade.score,
            "detail": grade.verdict.detail,
            "marks": list(grade.marks),
            "answer_ending": grade.ending,
            "replies": [
                {
                    "key": reply.key,
                    "judge_returned": reply.judge_returned,
                    "fingerprint": reply.fingerprint,
                    "request_id": reply.request_id,
                    "attempts": reply.attempts,
                    "prompt_tokens": reply.prompt_tokens,
                    "completion_tokens": reply.completion_tokens,
                    "adapted": list(reply.adapted),
                }
                for reply in grade.replies
            ],
        }
        for grade in grades
    ]


def sha256(path: Path) -> str:
    """Of a file's bytes, 64 hex digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _of_replies(grades: Iterable[Grade]) -> str:
    read = [[[reply.key, reply.text, reply.failure] for reply in grade.replies] for grade in grades]
    return hashlib.sha256(json.dumps(read).encode()).hexdigest()
