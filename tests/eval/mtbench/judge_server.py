"""A judge's service on this machine, spoken to over real HTTP, that can misbehave in every way a real one does.

What it does with each chat completion is an ``Act``. ``misbehave`` queues acts for the next requests; after them
``usual`` is done, which is a verdict whose rating follows from the prompt alone.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from eval.mtbench.items import Ask

Body = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    authorization: str
    body: Any
    """Parsed where it is JSON, bytes otherwise."""


Act = Callable[["Handler", Seen], None]


def rating_for(prompt: str) -> int:
    """The rating the server gives a prompt, 1 to 10: the same each time."""
    return 1 + hashlib.sha256(prompt.encode()).digest()[0] % 10


def asks(count: int, **parameters: Any) -> list[Ask]:
    """Distinct asks, as the protocol sends them."""
    return [
        Ask(
            question_id=81 + k,
            model="m",
            choice=0,
            turn=1,
            repeat=0,
            judge="gpt-4",
            messages=({"role": "system", "content": "Be fair."}, {"role": "user", "content": f"Judge answer {k}."}),
            parameters=parameters or {"temperature": 0, "max_tokens": 2048},
        )
        for k in range(count)
    ]


def completion_of(body: Body, **changes: Any) -> Body:
    """A whole chat completion about a request; ``changes``: text, finish_reason, refusal, model, usage."""
    prompt = body["messages"][-1]["content"]
    text = changes.get("text", f"A fair answer. Rating: [[{rating_for(prompt)}]]")
    message = {"role": "assistant", "content": text, "refusal": changes.get("refusal")}
    choice = {"index": 0, "message": message, "finish_reason": changes.get("finish_reason", "stop"), "logprobs": None}
    return {
        "id": "chatcmpl-" + hashlib.sha256(prompt.encode()).hexdigest()[:8],
        "object": "chat.completion",
        "created": 1700000000,
        "model": changes.get("model", body["model"]),
        "system_fingerprint": "fp_test",
        "choices": [choice],
        "usage": changes.get("usage", {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}),
    }


def verdict(**changes: Any) -> Act:
    """Answer as asked."""
    return lambda handler, seen: handler.send_json(200, completion_of(seen.body, **changes))


def status(code: int, error: Body | None = None, **headers: str) -> Act:
    """Turn the request away; underscores in header names stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, seen: handler.send_json(code, {"error": error or {"message": f"no: {code}"}}, named)


def raw(content: bytes, *, code: int = 200, kind: str = "application/json", claimed: int | None = None) -> Act:
    """Any bytes as the body; ``claimed``: another Content-Length than theirs."""

    def act(handler: Handler, seen: Seen) -> None:
        handler.send_bytes(code, content, kind, {}, claimed)

    return act


HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


def _good_body(seen: Seen) -> bytes:
    is_chat = isinstance(seen.body, dict) and "messages" in seen.body
    return json.dumps(completion_of(seen.body) if is_chat else {"id": "file-of-nobody", "status": "completed"}).encode()


def torn(handler: Handler, seen: Seen) -> None:
    """Half of a good body, and the connection closed before the rest."""
    whole = _good_body(seen)
    handler.send_bytes(200, whole[: len(whole) // 2], "application/json", {}, len(whole))


def torn_quietly(handler: Handler, seen: Seen) -> None:
    """Half of a good body, with a Content-Length that hides it."""
    whole = _good_body(seen)
    handler.send_bytes(200, whole[: len(whole) // 2], "application/json", {}, None)


def dropped(handler: Handler, seen: Seen) -> None:
    """Not a byte."""


def silent(handler: Handler, seen: Seen) -> None:
    """No answer until the server is closed, or a test's client has long lost patience."""
    handler.server.closing.wait(30)


def echoing(code: int) -> Act:
    """Show the request's Authorization header to whoever reads the response, in its body and in its headers."""

    def act(handler: Handler, seen: Seen) -> None:
        told = f"bad request with header Authorization: {seen.authorization}"
        body = {"error": {"message": told, "code": told, "param": told, "type": told, seen.authorization: told}}
        headers = {"x-request-id": told, "x-echo": told}
        handler.send_json(code, body if code >= 400 else completion_of(seen.body, text=told, model=told), headers)

    return act


class Handler(BaseHTTPRequestHandler):
    """One request; the connection is closed after it (HTTP/1.0)."""

    server: _Server

    def do_POST(self) -> None:
        """Chat completions, files, batches."""
        content = self.rfile.read(int(self.headers.get("content-length", 0)))
        is_json = "json" in self.headers.get("content-type", "")
        self._serve(json.loads(content) if is_json else content)

    def do_GET(self) -> None:
        """Batches and the contents of files."""
        self._serve(b"")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def send_json(self, code: int, body: Any, headers: Mapping[str, str] = {}) -> None:
        """A whole JSON response."""
        self.send_bytes(code, json.dumps(body).encode(), "application/json", headers, None)

    def send_bytes(self, code: int, content: bytes, kind: str, headers: Mapping[str, str], claimed: int | None) -> None:
        """Status, headers and the bytes; the client may have gone."""
        try:
            self.send_response(code)
            for name, value in {"x-request-id": "req-test", **headers}.items():
                self.send_header(name, value)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content) if claimed is None else claimed))
            self.end_headers()
            self.wfile.write(content)
        except ConnectionError:
            self.close_connection = True

    def _serve(self, body: Any) -> None:
        seen = Seen(method=self.command, path=self.path, authorization=self.headers.get("authorization", ""), body=body)
        self.server.judge.act_on(seen)(self, seen)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # The default of 5 turns connections away that a few hundred requests make at once.
    request_queue_size = 256
    judge: JudgeServer
    closing: threading.Event


@dataclass(kw_only=True)
class JudgeServer:
    """The service; use as a context manager. Its counts are of requests that reached it."""

    usual: Act = field(default_factory=verdict)
    delay_s: float = 0.0
    """Of each chat completion."""
    seen: list[Seen] = field(default_factory=list)
    routes: dict[str, Callable[[Seen], Act]] = field(default_factory=dict)
    """Beyond chat completions: the start of a path -> what to do."""

    def __post_init__(self) -> None:
        self._queue: deque[Act] = deque()
        self._mutex = threading.Lock()

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    @property
    def asked(self) -> list[Seen]:
        """Chat completions that arrived."""
        with self._mutex:
            return [seen for seen in self.seen if seen.path.endswith("/chat/completions")]

    @property
    def times_asked(self) -> Counter[str]:
        """How often each prompt arrived."""
        return Counter(seen.body["messages"][-1]["content"] for seen in self.asked)

    def misbehave(self, *acts: Act) -> None:
        """Do these for the next requests, in the order they arrive."""
        with self._mutex:
            self._queue.extend(acts)

    def act_on(self, seen: Seen) -> Act:
        """What to do about a request."""
        with self._mutex:
            self.seen.append(seen)
            if seen.path.endswith("/chat/completions"):
                act = self._queue.popleft() if self._queue else self.usual
            else:
                route = next((make for start, make in self.routes.items() if seen.path.startswith(start)), None)
                return status(404) if route is None else route(seen)
        time.sleep(self.delay_s)
        return act

    def __enter__(self) -> Self:
        self._http = _Server(("127.0.0.1", 0), Handler)
        self._http.judge = self
        self._http.closing = threading.Event()
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
