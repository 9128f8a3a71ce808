"""The Batch API on the judge's server: files, batches, and what can go wrong with them."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.eval.mtbench.judge_server import Act, Body, Handler, JudgeServer, Seen, completion_of

Result = Callable[[Body], Body | None]
"""A request line -> its line in a result file, or None where the batch ended without it."""


def answered(line: Body) -> Body:
    """A good verdict."""
    response = {"status_code": 200, "request_id": "req-batch", "body": completion_of(line["body"])}
    return {"id": "batch_req_1", "custom_id": line["custom_id"], "response": response, "error": None}


def refused_with(code: int, **error: Any) -> Result:
    """An HTTP error of one request's own."""
    response = {"status_code": code, "request_id": "req-batch", "body": {"error": {"message": f"no: {code}", **error}}}
    return lambda line: {"custom_id": line["custom_id"], "response": response, "error": None}


def expired(line: Body) -> Body:
    """Not run in time."""
    error = {"code": "batch_expired", "message": "This request could not be executed before the batch expired."}
    return {"custom_id": line["custom_id"], "response": None, "error": error}


@dataclass(kw_only=True)
class BatchDesk:
    """Answers under ``/v1/files`` and ``/v1/batches`` of a server."""

    server: JudgeServer
    polls: int = 2
    """How often a batch is still in progress."""
    ends_as: str = "completed"
    results: dict[str, Result] = field(default_factory=dict)
    """custom_id -> another result than ``answered``."""
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, Body] = field(default_factory=dict)
    acts: defaultdict[str, deque[Act]] = field(default_factory=lambda: defaultdict(deque))
    """upload, create, list, retrieve, content -> what to do instead for the next calls."""

    def __post_init__(self) -> None:
        self.server.routes["/v1/files"] = self._files
        self.server.routes["/v1/batches"] = self._batches

    def create_and(self, act: Act) -> Act:
        """Make the batch, and then answer with ``act``."""

        def make(handler: Handler, seen: Seen) -> None:
            self._create(seen.body)
            act(handler, seen)

        return make

    def _files(self, seen: Seen) -> Act:
        if seen.method == "POST":
            return self._next("upload", lambda: self._upload(seen.body))
        name = seen.path.removeprefix("/v1/files/").removesuffix("/content")
        return self._next_act(
            "content", lambda handler, _: handler.send_bytes(200, self.files[name], "text/plain", {}, None)
        )

    def _batches(self, seen: Seen) -> Act:
        if seen.method == "POST":
            return self._next("create", lambda: self._create(seen.body))
        if seen.path.startswith("/v1/batches/"):
            return self._next("retrieve", lambda: self._retrieve(seen.path.rsplit("/", 1)[1]))
        return self._next("list", lambda: self._list(seen.path))

    def _next(self, call: str, make: Callable[[], Body]) -> Act:
        return self._next_act(call, lambda handler, _: handler.send_json(200, make()))

    def _next_act(self, call: str, usual: Act) -> Act:
        return self.acts[call].popleft() if self.acts[call] else usual

    def _upload(self, body: bytes) -> Body:
        lines = [line for line in body.splitlines() if line.startswith(b'{"custom_id"')]
        name = f"file-{len(self.files)}"
        self.files[name] = b"\n".join(lines)
        return {"id": name, "object": "file"}

    def _create(self, body: Body) -> Body:
        name = f"batch_{len(self.batches)}"
        total = len(self.files[body["input_file_id"]].splitlines())
        counts = {"total": total, "completed": 0, "failed": 0}
        self.batches[name] = {**body, "id": name, "object": "batch", "status": "validating", "polls": 0,
                              "request_counts": counts, "output_file_id": None, "error_file_id": None}  # fmt: skip
        return self.batches[name]

    def _retrieve(self, name: str) -> Body:
        batch = self.batches[name]
        batch["polls"] += 1
        if batch["polls"] <= self.polls:
            batch["status"] = "in_progress"
        elif batch["status"] in ("validating", "in_progress"):
            self._finish(batch)
        return batch

    def _finish(self, batch: Body) -> None:
        batch["status"] = self.ends_as
        if self.ends_as == "failed":
            batch["errors"] = {"data": [{"code": "invalid", "message": "The model does not exist."}]}
            return
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        made = [self.results.get(line["custom_id"], answered)(line) for line in lines]
        good = [line for line in made if line is not None and (line["response"] or {}).get("status_code") == 200]
        bad = [line for line in made if line is not None and line not in good]
        batch["request_counts"] = {"total": len(lines), "completed": len(good), "failed": len(bad)}
        for name, kept in (("output_file_id", good[::-1]), ("error_file_id", bad)):
            if kept:
                batch[name] = f"file-{len(self.files)}"
                self.files[batch[name]] = b"".join(json.dumps(line).encode() + b"\n" for line in kept)

    def _list(self, path: str) -> Body:
        """Two to a page, the newest first."""
        names = list(self.batches)[::-1]
        after = path.partition("after=")[2].partition("&")[0]
        start = names.index(after) + 1 if after else 0
        page = names[start : start + 2]
        return {"object": "list", "data": [self.batches[name] for name in page], "has_more": start + 2 < len(names)}
